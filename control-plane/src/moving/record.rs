//! One line: its fields as they are read into what is asked for. How they are written is in `written`: what is exported
//! can be imported.

use keyward_contract::{Contract, Limits};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::source;
use crate::domain::account::{Metadata, status_from_str};
use crate::domain::refusal::InvalidField;
use crate::domain::text::{self, MAX_NAME, Name};
use crate::domain::user::Permissions;
use crate::operations::import::{Item, Line, NewAccount, NewEndCustomer, NewUser};
use crate::surfaces::admin::wire;
use crate::surfaces::fields::Fields;

mod keys;
mod kinds;
mod values;
mod written;

use keys::key_of;
use kinds::allowed;
use values::{common, environment, key_limit, limit, parsed, reference};
pub(super) use written::{head, tier, written};

/// The version of the form.
const VERSION: u64 = 1;
const LONGEST_REFERENCE: usize = 255;
const LONGEST_CLAIMS: usize = 100;

type Read<T> = Result<T, InvalidField>;

/// Whether digests are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digests {
    Included,
    LeftOut,
}

/// Reads a line.
pub(super) fn read(number: u64, fields: source::Fields) -> Line {
    let mut line = Line {
        number,
        kind: None,
        reference: None,
        item: Err(InvalidField::new("line", "could not be read")),
    };
    match fields {
        Err(invalid) => line.item = Err(invalid),
        Ok(mut object) => {
            // Out of the fields before anything else looks at them: it is wiped, whatever is wrong with the line.
            let key = match object.remove("key") {
                Some(Value::String(text)) => Some(Zeroizing::new(text)),
                Some(Value::Null) | None => None,
                Some(_) => {
                    line.item = Err(InvalidField::new("key", "must be a text"));
                    return line;
                }
            };
            line.item = item(&mut line, object, key);
        }
    }
    line
}

fn item(line: &mut Line, mut object: Map<String, Value>, key: Option<Zeroizing<String>>) -> Read<Item> {
    let Some((kind, names)) = object.get("kind").and_then(Value::as_str).and_then(allowed) else {
        return Err(InvalidField::new(
            "kind",
            "must be customer, user, end_customer, api_key, tier or export",
        ));
    };
    line.kind = Some(kind);
    let sandbox = match object.remove("sandbox") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(sandbox)) => Some(sandbox),
        Some(_) => return Err(InvalidField::new("sandbox", "must be true or false")),
    };
    if sandbox.is_some() && kind != "customer" {
        return Err(InvalidField::new("sandbox", "is a field of customers alone"));
    }
    for name in object.keys() {
        if !["kind", "ref", "id"].contains(&name.as_str()) && !names.contains(&name.as_str()) {
            let at = if super::column::is_known(name) {
                name.as_str()
            } else {
                "line"
            };
            let reason = if at == "line" {
                format!("has a field that is none of a line of kind {kind}")
            } else {
                format!("is no field of a line of kind {kind}")
            };
            return Err(InvalidField::new(at.to_owned(), reason));
        }
    }
    if key.is_some() && kind != "api_key" {
        return Err(InvalidField::new(
            "key",
            format!("is no field of a line of kind {kind}"),
        ));
    }
    let fields = Fields::new(object);
    line.reference = fields
        .text("ref")?
        .read(|typed| Name::parse("ref", typed, LONGEST_REFERENCE))?
        .or_null()
        .map(|name| name.as_str().to_owned());
    match kind {
        "export" => head_of(&fields),
        "tier" => tier_of(&fields),
        "customer" => account_of(&fields, sandbox).map(|account| Item::Account(Box::new(account))),
        "user" => user_of(&fields).map(|user| Item::User(Box::new(user))),
        "end_customer" => end_customer_of(&fields).map(|customer| Item::EndCustomer(Box::new(customer))),
        _ => key_of(&fields, key).map(|key| Item::ApiKey(Box::new(key))),
    }
}

fn head_of(fields: &Fields) -> Read<Item> {
    match fields.whole_number("version")?.or_null() {
        None | Some(VERSION) => {}
        Some(_) => {
            return Err(InvalidField::new(
                "version",
                format!("must be {VERSION}: the file was written by another version"),
            ));
        }
    }
    Ok(Item::Head {
        digest_key: fields.text("digest_key")?.or_null().map(str::to_owned),
    })
}

fn tier_of(fields: &Fields) -> Read<Item> {
    Ok(Item::Tier {
        key: fields.text("tier")?.required("tier")?.to_owned(),
        annual_limit: fields.whole_number("annual_limit")?.or_null(),
        rate_limit: fields.whole_number("rate_limit")?.or_null(),
        burst_limit: fields.whole_number("burst_limit")?.or_null(),
    })
}

fn account_of(fields: &Fields, sandbox: Option<bool>) -> Read<NewAccount> {
    Ok(NewAccount {
        id: parsed(fields, "id", "must be a UUID")?,
        company_name: Name::parse(
            "company_name",
            fields.text("company_name")?.required("company_name")?,
            MAX_NAME,
        )?,
        contact_email: text::email(
            "contact_email",
            fields.text("contact_email")?.required("contact_email")?,
        )?,
        tier: fields.text("tier")?.required("tier")?.to_owned(),
        status: fields
            .text("status")?
            .read(|text| {
                status_from_str(text)
                    .map_err(|_| InvalidField::new("status", "must be active, suspended or cancelled"))
            })?
            .or_null()
            .unwrap_or(keyward_contract::AccountStatus::Active),
        contract: Contract {
            start: wire::contract_start(fields)?.or_null(),
            end: wire::contract_end(fields)?.or_null(),
        },
        metadata: fields
            .object("metadata")?
            .read(|notes| Metadata::parse(notes.clone()))?
            .or_null()
            .unwrap_or_default(),
        overrides: wire::overrides(fields)?.or_null(),
        environments: [
            (
                parsed(fields, "test_environment_id", "must be 16 hex digits")?,
                key_limit(fields, "test_user_key_limit")?,
            ),
            (
                parsed(fields, "production_environment_id", "must be 16 hex digits")?,
                key_limit(fields, "production_user_key_limit")?,
            ),
        ],
        sandbox: sandbox.unwrap_or(true),
        common: common(fields)?,
    })
}

fn user_of(fields: &Fields) -> Read<NewUser> {
    let claims = fields.texts("claims")?.or_null().unwrap_or_default();
    if claims.len() > LONGEST_CLAIMS || claims.iter().any(|claim| claim.is_empty() || claim.len() > 255) {
        return Err(InvalidField::new(
            "claims",
            "must be at most 100 texts of 1 to 255 bytes",
        ));
    }
    let permissions = fields.texts("permissions")?.or_null().unwrap_or_default();
    let known = [Permissions::LIST, Permissions::WRITE];
    if !permissions.iter().all(|text| known.contains(text)) {
        let reason = format!("must be among {} and {}", Permissions::LIST, Permissions::WRITE);
        return Err(InvalidField::new("permissions", reason));
    }
    Ok(NewUser {
        id: parsed(fields, "id", "must be a UUID")?,
        customer: reference(fields, "customer")?
            .ok_or_else(|| InvalidField::new("customer", "is required"))?,
        sub: parsed(fields, "sub", "must be a UUID")?,
        name: Name::parse("name", fields.text("name")?.required("name")?, 200)?,
        email: text::email("email", fields.text("email")?.required("email")?)?,
        claims: claims.into_iter().map(str::to_owned).collect(),
        permissions: Permissions::among(permissions),
        common: common(fields)?,
    })
}

fn end_customer_of(fields: &Fields) -> Read<NewEndCustomer> {
    let rate = limit(fields, "rate_limit")?;
    let burst = limit(fields, "burst_limit")?;
    let limits = match (rate, burst) {
        (None, None) => None,
        (Some(rate), Some(burst)) => Some(Limits { rate, burst }),
        (Some(_), None) => return Err(InvalidField::new("burst_limit", "is required beside rate_limit")),
        (None, Some(_)) => return Err(InvalidField::new("rate_limit", "is required beside burst_limit")),
    };
    Ok(NewEndCustomer {
        id: parsed(fields, "id", "must be c and 24 of 0-9a-z")?,
        customer: reference(fields, "customer")?
            .ok_or_else(|| InvalidField::new("customer", "is required"))?,
        environment: environment(fields)?.ok_or_else(|| InvalidField::new("environment", "is required"))?,
        name: Name::parse("name", fields.text("name")?.required("name")?, MAX_NAME)?,
        limits,
        common: common(fields)?,
    })
}
