//! The time that a query names: `from`, `to` and `granularity`.

use super::params::Params;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::series::Granularity;
use crate::operations::account_usage::Time;

/// Reads it; what is absent is left open.
///
/// # Errors
/// When a parameter occurs twice or can't be read.
pub fn time(params: &Params) -> Result<Time, InvalidField> {
    let instant = |name| -> Result<_, InvalidField> {
        params
            .text(name)?
            .map(|text| moment::instant(name, text))
            .transpose()
    };
    Ok(Time {
        from: instant("from")?,
        to: instant("to")?,
        granularity: params
            .text("granularity")?
            .map(|text| Granularity::parse("granularity", text))
            .transpose()?,
    })
}
