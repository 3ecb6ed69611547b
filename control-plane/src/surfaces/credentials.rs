//! Who calls surfaces 3 and 4: `X-API-KEY: <account key>`, or `Authorization: Bearer <account key or token>`.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::token::is_token;
use crate::operations::identify::{self, Call, CompanyCaller, Forbidden, Stranger, Unidentified};
use crate::operations::tokens::identify::Refused;
use crate::surfaces::call::Admission;
use crate::surfaces::limits::Meter;
use crate::surfaces::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Finds the caller, and whether it may call; a caller that was identified but may not has a meter.
pub async fn identify(app: &App, headers: &HeaderMap, call: &Call) -> (Admission, Option<Meter>) {
    let refused = |problem| (Admission::Refused(problem), None);
    let credential = match presented(headers) {
        Ok(credential) => credential,
        Err(problem) => return refused(problem),
    };
    let caller = match identify::company(&app.registry, credential, call).await {
        Ok(Ok(caller)) => caller,
        Ok(Err(stranger)) => return refused(problem(stranger)),
        Err(error) => return refused(error.into()),
    };
    let why = match may_call(app, &caller, call) {
        Ok(()) => return (Admission::Company(Box::new(caller)), None),
        Err(Forbidden::Account) => "the account is suspended, cancelled, or its contract is over",
        Err(Forbidden::Address) => "this credential may not be used from this address",
    };
    let meter = app
        .company_limits
        .look(caller.credential.bucket(), &app.registry.clock);
    (Admission::Refused(Problem::Forbidden(why)), Some(meter))
}

fn problem(stranger: Stranger) -> Problem {
    match stranger {
        Stranger::Key(Unidentified::Unknown) => Problem::UnknownKey,
        Stranger::Key(Unidentified::Dead) => Problem::DeadKey,
        Stranger::Token(Refused::Unsound) => Problem::UnknownToken,
        Stranger::Token(Refused::Ended) => Problem::DeadToken,
        Stranger::Token(Refused::NoUser) => Problem::Forbidden("the token is of no user that is known here"),
        Stranger::Token(Refused::NoEnvironment) => {
            Problem::Forbidden("the token is for an environment that its account does not have")
        }
        Stranger::Token(Refused::CantTell) => Problem::Unavailable,
    }
}

fn may_call(app: &App, caller: &CompanyCaller, call: &Call) -> Result<(), Forbidden> {
    identify::may_act(
        &caller.account,
        caller.credential.key(),
        app.registry.clock.now(),
        call.address,
    )
}

/// The one credential of a call.
fn presented(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let key = one(headers, &KEY)?.map(|value| value.as_bytes().trim_ascii());
    let bearer = one(headers, &header::AUTHORIZATION)?.and_then(|value| bearer(value.as_bytes()));
    match (key.filter(|key| !key.is_empty()), bearer) {
        (Some(key), Some(bearer)) if key != bearer => Err(InvalidField::new(
            "Authorization",
            "and X-API-KEY hold two different credentials; send one",
        )
        .into()),
        // Tokens are bearer tokens: as a key one is nothing.
        (Some(key), None) if is_token(key) => Err(Problem::UnknownKey),
        (Some(credential), _) | (None, Some(credential)) => Ok(credential),
        (None, None) => Err(Problem::NoCredential),
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, InvalidField> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        let name = if *name == KEY {
            "X-API-KEY"
        } else {
            "Authorization"
        };
        return Err(InvalidField::new(name, "occurs twice"));
    }
    Ok(first)
}

/// What follows `Bearer` and white space; another scheme is no credential of ours.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Bearer".len())?;
    let credential = rest.trim_ascii();
    let separated = matches!(rest.first(), Some(b' ' | b'\t'));
    (scheme.eq_ignore_ascii_case(b"Bearer") && separated && !credential.is_empty()).then_some(credential)
}
