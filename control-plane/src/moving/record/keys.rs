//! A line of kind `api_key`: as a raw key, or as the digest and the mask of one.

use keyward_contract::{Environment, KeyDigest, KeyKind, KeyMask, KeyState, PlainKey};
use zeroize::Zeroizing;

use super::Read;
use super::values::{common, environment, instant, parsed, reference};
use crate::domain::key::{Origin, state_from_str};
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::import::{KeySecret, NewApiKey};
use crate::surfaces::admin::wire;
use crate::surfaces::fields::Fields;

const LONGEST_KEY_NAME: usize = 255;

pub(super) fn key_of(fields: &Fields, key: Option<Zeroizing<String>>) -> Read<NewApiKey> {
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
    let origin = origin(fields, kind, user.as_deref())?;
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
        allowed_ips: wire::allowed_ips(fields)?.or_null(),
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

/// On which surface it was made, as far as its kind and its user leave that open.
fn origin(fields: &Fields, kind: KeyKind, user: Option<&str>) -> Read<Origin> {
    let origin = fields
        .text("origin")?
        .read(|text| {
            Origin::from_stored(text)
                .ok_or_else(|| InvalidField::new("origin", "must be portal, admin, keys or user-keys"))
        })?
        .or_null();
    let reason = match (kind, origin) {
        (KeyKind::Customer, None | Some(Origin::Portal)) => return Ok(Origin::Portal),
        (KeyKind::Customer, Some(_)) => "is portal for the key of an end customer",
        (_, Some(Origin::Portal)) => "portal is for keys of end customers alone",
        (_, Some(Origin::UserKeys)) if user.is_none() => "user-keys is for keys of users alone",
        (_, origin) => return Ok(origin.unwrap_or(Origin::Admin)),
    };
    Err(InvalidField::new("origin", reason))
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
