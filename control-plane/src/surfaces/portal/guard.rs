//! Who calls the portal API: `Authorization: Bearer <account key>`, and nothing else.

use http::{HeaderMap, header};

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::identify::{self, Call, Forbidden, Unidentified};
use crate::surfaces::call::Admission;
use crate::surfaces::limits::Meter;
use crate::surfaces::problem::Problem;

/// Finds the caller, and whether it may call; a caller that was identified but may not has a meter.
pub async fn identify(app: &App, headers: &HeaderMap, call: &Call) -> (Admission, Option<Meter>) {
    let refused = |problem| (Admission::Refused(problem), None);
    let key = match bearer(headers) {
        Ok(key) => key,
        Err(problem) => return refused(problem),
    };
    let caller = match identify::account_key(&app.registry, key, call).await {
        Ok(Ok(caller)) => caller,
        Ok(Err(Unidentified::Unknown)) => return refused(Problem::UnknownKey),
        Ok(Err(Unidentified::Dead)) => return refused(Problem::DeadKey),
        Err(error) => return refused(error.into()),
    };
    let why = match identify::may_call(&caller, app.registry.clock.now(), call.address) {
        Ok(()) => return (Admission::Portal(Box::new(caller)), None),
        Err(Forbidden::Account) => "the account is suspended, cancelled, or its contract is over",
        Err(Forbidden::Address) => "this API key may not be used from this address",
    };
    let meter = app
        .portal_limits
        .look(*caller.key.id.as_uuid(), &app.registry.clock);
    (Admission::Refused(Problem::Forbidden(why)), Some(meter))
}

/// The key in the one `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Problem::NoCredential);
    };
    if values.next().is_some() {
        return Err(InvalidField::new("Authorization", "occurs twice").into());
    }
    let Some((scheme, rest)) = value.as_bytes().split_at_checked("Bearer".len()) else {
        return Err(Problem::NoCredential);
    };
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(Problem::NoCredential);
    }
    let key = rest.trim_ascii();
    match rest.first() {
        _ if key.is_empty() => Err(Problem::NoCredential),
        Some(b' ' | b'\t') => Ok(key),
        // `Bearerpk_live_…` is another scheme.
        _ => Err(Problem::NoCredential),
    }
}
