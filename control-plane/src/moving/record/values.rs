//! Values that several kinds of lines have, or that are read in one way wherever they stand.

use keyward_contract::{Environment, UnixMillis};

use super::{LONGEST_REFERENCE, Read};
use crate::domain::account::MAX_USER_KEY_LIMIT;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::import::Common;
use crate::surfaces::fields::Fields;

pub(super) fn common(fields: &Fields) -> Read<Common> {
    Ok(Common {
        created_at: instant(fields, "created_at")?,
        updated_at: instant(fields, "updated_at")?,
        deleted_at: instant(fields, "deleted_at")?,
    })
}

pub(super) fn instant(fields: &Fields, name: &'static str) -> Read<Option<UnixMillis>> {
    let read = fields.text(name)?.read(|text| moment::instant(name, text))?;
    Ok(read.or_null())
}

pub(super) fn reference(fields: &Fields, name: &'static str) -> Read<Option<String>> {
    let read = fields
        .text(name)?
        .read(|typed| Name::parse(name, typed, LONGEST_REFERENCE))?;
    Ok(read.or_null().map(|name| name.as_str().to_owned()))
}

pub(super) fn environment(fields: &Fields) -> Read<Option<Environment>> {
    let read = fields.text("environment")?.read(|text| {
        text.parse()
            .map_err(|()| InvalidField::new("environment", "must be test or production"))
    })?;
    Ok(read.or_null())
}

pub(super) fn parsed<T: std::str::FromStr>(
    fields: &Fields,
    name: &'static str,
    reason: &'static str,
) -> Read<Option<T>> {
    let read = fields
        .text(name)?
        .read(|text| text.parse().map_err(|_| InvalidField::new(name, reason)))?;
    Ok(read.or_null())
}

pub(super) fn key_limit(fields: &Fields, name: &'static str) -> Read<Option<u32>> {
    let read = fields.whole_number(name)?.read(|number| {
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= MAX_USER_KEY_LIMIT)
            .ok_or_else(|| InvalidField::new(name, "must be a whole number from 0 to 100000"))
    })?;
    Ok(read.or_null())
}

pub(super) fn limit(fields: &Fields, name: &'static str) -> Read<Option<u32>> {
    let read = fields.whole_number(name)?.read(|number| {
        u32::try_from(number)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| InvalidField::new(name, "must be a whole number from 1 to 4294967295"))
    })?;
    Ok(read.or_null())
}
