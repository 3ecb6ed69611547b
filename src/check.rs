//! `keyward check FILE`.

use std::path::Path;

use keyward_config::Kind;

use crate::failure::Failure;
use crate::output;

/// Says `ok` and for which program the file is, or everything that is wrong.
pub(crate) fn run(file: &Path, kind: Option<Kind>) -> Result<(), Failure> {
    let kind = keyward_config::check(file, kind)?;
    output::say(format_args!("ok ({kind})"));
    Ok(())
}
