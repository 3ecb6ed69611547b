//! One line: its fields as they are read into what is asked for. How they are written is in `written`: what is exported
//! can be imported.

use keyward_contract::{
    AddressList, Contract, Environment, KeyDigest, KeyKind, KeyMask, KeyState, Limits, PlainKey, UnixMillis,
};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::source;
use crate::domain::account::{MAX_USER_KEY_LIMIT, Metadata, status_from_str};
use crate::domain::key::{Origin, state_from_str};
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::text::{self, MAX_NAME, Name};
use crate::domain::user::Permissions;
use crate::operations::import::{
    Common, Item, KeySecret, Line, NewAccount, NewApiKey, NewEndCustomer, NewUser,
};
use crate::surfaces::admin::wire;
use crate::surfaces::fields::Fields;

mod written;

pub(super) use written::{head, tier, written};

/// The version of the form.
const VERSION: u64 = 1;
const LONGEST_REFERENCE: usize = 255;
const LONGEST_KEY_NAME: usize = 255;
const LONGEST_CLAIMS: usize = 100;

type Read<T> = Result<T, InvalidField>;

/// Whether digests are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digests {
    Included,
    LeftOut,
}

/// The fields that a kind of line has beside `kind`, `ref` and `id`.
fn allowed(kind: &str) -> Option<(&'static str, &'static [&'static str])> {
    let known: (&'static str, &'static [&'static str]) = match kind {
        "export" => ("export", &["version", "digest_key"]),
        "tier" => (
            "tier",
            &[
                "tier",
                "name",
                "annual_price",
                "annual_limit",
                "rate_limit",
                "burst_limit",
                "sla",
            ],
        ),
        "customer" => (
            "customer",
            &[
                "company_name",
                "contact_email",
                "tier",
                "status",
                "contract_start",
                "contract_end",
                "metadata",
                "overrides",
                "sandbox",
                "test_environment_id",
                "test_user_key_limit",
                "production_environment_id",
                "production_user_key_limit",
                "created_at",
                "updated_at",
            ],
        ),
        "user" => (
            "user",
            &[
                "customer",
                "sub",
                "name",
                "email",
                "claims",
                "permissions",
                "created_at",
                "updated_at",
                "deleted_at",
            ],
        ),
        "end_customer" => (
            "end_customer",
            &[
                "customer",
                "environment",
                "name",
                "rate_limit",
                "burst_limit",
                "created_at",
                "updated_at",
                "deleted_at",
            ],
        ),
        "api_key" => (
            "api_key",
            &[
                "customer",
                "end_customer",
                "user",
                "environment",
                "key",
                "digest",
                "mask",
                "name",
                "status",
                "origin",
                "expires_at",
                "allowed_ips",
                "api_version",
                "api_version_changed_at",
                "no_downgrade_after",
                "rotated_at",
                "held_at",
                "created_by",
                "created_at",
                "updated_at",
                "revoked_at",
                "deleted_at",
            ],
        ),
        _ => return None,
    };
    Some(known)
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

fn key_of(fields: &Fields, key: Option<Zeroizing<String>>) -> Read<NewApiKey> {
    let end_customer = reference(fields, "end_customer")?;
    let user = reference(fields, "user")?;
    if end_customer.is_some() && user.is_some() {
        return Err(InvalidField::new("user", "can't have the key of an end customer"));
    }
    let kind = match end_customer {
        Some(_) => KeyKind::Customer,
        None => KeyKind::Account,
    };
    let (environment, secret) = secret(fields, key, kind)?;
    let origin = fields
        .text("origin")?
        .read(|text| {
            Origin::from_stored(text)
                .ok_or_else(|| InvalidField::new("origin", "must be portal, admin, keys or user-keys"))
        })?
        .or_null();
    let origin = match (kind, origin) {
        (KeyKind::Customer, None | Some(Origin::Portal)) => Origin::Portal,
        (KeyKind::Customer, Some(_)) => {
            return Err(InvalidField::new(
                "origin",
                "is portal for the key of an end customer",
            ));
        }
        (_, Some(Origin::Portal)) => {
            return Err(InvalidField::new(
                "origin",
                "portal is for keys of end customers alone",
            ));
        }
        (_, Some(Origin::UserKeys)) if user.is_none() => {
            return Err(InvalidField::new(
                "origin",
                "user-keys is for keys of users alone",
            ));
        }
        (_, origin) => origin.unwrap_or(Origin::Admin),
    };
    Ok(NewApiKey {
        id: parsed(fields, "id", "must be a UUID")?,
        customer: reference(fields, "customer")?
            .ok_or_else(|| InvalidField::new("customer", "is required"))?,
        end_customer,
        user,
        environment,
        secret,
        name: fields
            .text("name")?
            .read(|typed| Name::parse("name", typed, LONGEST_KEY_NAME))?
            .or_null(),
        state: fields
            .text("status")?
            .read(|text| {
                state_from_str(text)
                    .map_err(|_| InvalidField::new("status", "must be active, disabled, revoked or deleted"))
            })?
            .or_null()
            .unwrap_or(KeyState::Active),
        expires_at: instant(fields, "expires_at")?,
        allowed_ips: fields
            .texts("allowed_ips")?
            .read(|entries| {
                AddressList::parse(&entries)
                    .map_err(|error| InvalidField::new("allowed_ips", error.to_string()))
            })?
            .or_null(),
        origin,
        api_version: fields.text("api_version")?.or_null().map(str::to_owned),
        api_version_changed_at: instant(fields, "api_version_changed_at")?,
        no_downgrade_after: instant(fields, "no_downgrade_after")?,
        rotated_at: instant(fields, "rotated_at")?,
        held_at: instant(fields, "held_at")?,
        revoked_at: instant(fields, "revoked_at")?,
        created_by: reference(fields, "created_by")?,
        common: common(fields)?,
    })
}

/// By what a key will be found, and where it is valid.
fn secret(fields: &Fields, key: Option<Zeroizing<String>>, kind: KeyKind) -> Read<(Environment, KeySecret)> {
    let given = environment(fields)?;
    let digest = fields.text("digest")?.or_null();
    let (at, prefix, environment, secret) = match (key, digest) {
        (Some(_), Some(_)) => return Err(InvalidField::new("digest", "can't stand beside key")),
        (None, None) => return Err(InvalidField::new("key", "is required, or digest and mask")),
        (Some(text), None) => {
            let plain = PlainKey::parse(text.trim())
                .map_err(|why| InvalidField::new("key", format!("is none that gateways take: {why}")))?;
            let shape = plain.shape();
            let Some(environment) = shape.environment else {
                return Err(InvalidField::new(
                    "key",
                    "is an admin key, and those are not imported: make one with admin-key create",
                ));
            };
            ("key", shape.kind.prefix(), environment, KeySecret::Raw(plain))
        }
        (None, Some(digest)) => {
            let mut bytes = [0; 32];
            hex::decode_to_slice(digest, &mut bytes)
                .map_err(|_| InvalidField::new("digest", "must be 64 hex digits"))?;
            let mask = fields.text("mask")?.required("mask")?;
            let (prefix, environment) = of_mask(mask)?;
            let mask = KeyMask::from_stored(mask.to_owned());
            let secret = KeySecret::Digest(KeyDigest::from_bytes(bytes), mask);
            ("mask", prefix, environment, secret)
        }
    };
    match kind {
        KeyKind::Customer if prefix != "ck" => Err(InvalidField::new(
            at,
            "must begin with ck_ for the key of an end customer",
        )),
        KeyKind::Account | KeyKind::Admin | KeyKind::Gateway if prefix != "pk" => Err(InvalidField::new(
            at,
            "must begin with pk_ when no end_customer is given",
        )),
        _ if given.is_some_and(|given| given != environment) => Err(InvalidField::new(
            "environment",
            "is not that of the key: live is production, test is test",
        )),
        _ => Ok((environment, secret)),
    }
}

/// What the mask of a key says of it, such as `pk_live_4f…9aZ`.
fn of_mask(mask: &str) -> Read<(&'static str, Environment)> {
    const PREFIXES: [(&str, &str, Environment); 4] = [
        ("pk_live_", "pk", Environment::Production),
        ("pk_test_", "pk", Environment::Test),
        ("ck_live_", "ck", Environment::Production),
        ("ck_test_", "ck", Environment::Test),
    ];
    let read = || {
        let (prefix, kind, environment) = PREFIXES
            .into_iter()
            .find(|(prefix, ..)| mask.starts_with(prefix))?;
        let (head, tail) = mask.strip_prefix(prefix)?.split_once('…')?;
        let fits = head.len() == 2 && tail.len() == 3;
        (fits
            && [head, tail]
                .concat()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric()))
        .then_some((kind, environment))
    };
    read().ok_or_else(|| InvalidField::new("mask", "must be as keys are shown, such as pk_live_4f…9aZ"))
}

fn common(fields: &Fields) -> Read<Common> {
    Ok(Common {
        created_at: instant(fields, "created_at")?,
        updated_at: instant(fields, "updated_at")?,
        deleted_at: instant(fields, "deleted_at")?,
    })
}

fn instant(fields: &Fields, name: &'static str) -> Read<Option<UnixMillis>> {
    let read = fields.text(name)?.read(|text| moment::instant(name, text))?;
    Ok(read.or_null())
}

fn reference(fields: &Fields, name: &'static str) -> Read<Option<String>> {
    let read = fields
        .text(name)?
        .read(|typed| Name::parse(name, typed, LONGEST_REFERENCE))?;
    Ok(read.or_null().map(|name| name.as_str().to_owned()))
}

fn environment(fields: &Fields) -> Read<Option<Environment>> {
    let read = fields.text("environment")?.read(|text| {
        text.parse()
            .map_err(|()| InvalidField::new("environment", "must be test or production"))
    })?;
    Ok(read.or_null())
}

fn parsed<T: std::str::FromStr>(
    fields: &Fields,
    name: &'static str,
    reason: &'static str,
) -> Read<Option<T>> {
    let read = fields
        .text(name)?
        .read(|text| text.parse().map_err(|_| InvalidField::new(name, reason)))?;
    Ok(read.or_null())
}

fn key_limit(fields: &Fields, name: &'static str) -> Read<Option<u32>> {
    let read = fields.whole_number(name)?.read(|number| {
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= MAX_USER_KEY_LIMIT)
            .ok_or_else(|| InvalidField::new(name, "must be a whole number from 0 to 100000"))
    })?;
    Ok(read.or_null())
}

fn limit(fields: &Fields, name: &'static str) -> Read<Option<u32>> {
    let read = fields.whole_number(name)?.read(|number| {
        u32::try_from(number)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| InvalidField::new(name, "must be a whole number from 1 to 4294967295"))
    })?;
    Ok(read.or_null())
}
