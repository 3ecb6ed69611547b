//! The names of all fields, how a cell of CSV becomes a value, and how values are written in both formats.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::Format;

/// Every field there is, in the order of an export's columns.
const COLUMNS: &[&str] = &[
    "kind",
    "ref",
    "id",
    "version",
    "digest_key",
    "customer",
    "end_customer",
    "user",
    "environment",
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
    "sub",
    "name",
    "email",
    "claims",
    "permissions",
    "annual_price",
    "annual_limit",
    "rate_limit",
    "burst_limit",
    "sla",
    "key",
    "digest",
    "mask",
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
];

/// Whether a field has this name.
pub(super) fn is_known(name: &str) -> bool {
    COLUMNS.contains(&name)
}

/// What a cell means. One that is not what its column asks for stays a text, and is refused by its field's name.
pub(super) fn value(name: &str, cell: String) -> Value {
    match name {
        "version"
        | "annual_price"
        | "annual_limit"
        | "rate_limit"
        | "burst_limit"
        | "test_user_key_limit"
        | "production_user_key_limit" => match cell.trim().parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) => cell.into(),
        },
        "metadata" | "overrides" => json(&cell).filter(Value::is_object).unwrap_or(cell.into()),
        "sandbox" => match cell.trim() {
            "true" => true.into(),
            "false" => false.into(),
            _ => cell.into(),
        },
        "allowed_ips" | "claims" | "permissions" => match json(&cell).filter(Value::is_array) {
            Some(list) => list,
            None => cell.split(';').map(str::trim).collect(),
        },
        _ => cell.into(),
    }
}

fn json(cell: &str) -> Option<Value> {
    crate::surfaces::strict_json::parse(cell.as_bytes()).ok()
}

/// Where an export is written.
pub(super) struct Sink<W: Write> {
    out: Out<W>,
    lines: u64,
}

enum Out<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Sink<W> {
    /// Begins to write; of CSV, writes the header.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn begin(out: W, format: Format) -> io::Result<Self> {
        let out = match format {
            Format::Jsonl => Out::Jsonl(out),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(COLUMNS).map_err(io::Error::from)?;
                Out::Csv(Box::new(writer))
            }
        };
        Ok(Self { out, lines: 0 })
    }

    /// Writes a line; fields that are null are left out.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn write(&mut self, fields: &Value) -> io::Result<()> {
        let empty = Map::new();
        let given = fields.as_object().unwrap_or(&empty).iter();
        let given: Map<String, Value> = given
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.lines += 1;
        match &mut self.out {
            Out::Jsonl(out) => writeln!(out, "{}", Value::Object(given)),
            Out::Csv(writer) => {
                let cells = COLUMNS.iter().map(|name| match given.get(*name) {
                    None => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                });
                writer.write_record(cells).map_err(io::Error::from)
            }
        }
    }

    /// Writes what is left; answers how many lines there are.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn finish(self) -> io::Result<u64> {
        match self.out {
            Out::Jsonl(mut out) => out.flush()?,
            Out::Csv(mut writer) => writer.flush()?,
        }
        Ok(self.lines)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_what_its_column_asks_for() {
        for (name, cell, expected) in [
            ("rate_limit", "7", json!(7)),
            ("rate_limit", "many", json!("many")),
            ("sandbox", "false", json!(false)),
            (
                "allowed_ips",
                "192.0.2.1; 2001:db8::/32",
                json!(["192.0.2.1", "2001:db8::/32"]),
            ),
            ("claims", "[\"a;b\"]", json!(["a;b"])),
            ("metadata", "{\"a\":\"b\"}", json!({"a": "b"})),
            ("metadata", "a=b", json!("a=b")),
            ("name", "7", json!("7")),
        ] {
            assert_eq!(value(name, cell.to_owned()), expected, "{name}");
        }
    }
}
