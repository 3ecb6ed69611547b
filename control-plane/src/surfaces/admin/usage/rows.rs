//! Usage as rows of a file: CSV, a JSON array, or one JSON object a line. Streamed: however much there is, a few
//! thousand rows are held at once. An error after the first of them breaks the answer off, so that nobody takes a part
//! for the whole.
//!
//! In CSV a text that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, a tab or a carriage
//! return) has an apostrophe before it; JSON has every text as it is.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use keyward_contract::Environment;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::Error;
use crate::operations::usage_export::{Export, Exported};
use crate::store::usage::Counted;
use crate::surfaces::broken_off::BrokenOff;
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With a line of names. What is absent is empty.
    Csv,
    /// One array.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// What one caller used in one hour, day or month.
#[derive(Debug, Serialize, ToSchema)]
pub struct Row<'a> {
    /// When that began.
    #[schema(format = DateTime)]
    start: String,
    #[schema(pattern = "^(test|production)$")]
    environment: &'a str,
    #[schema(required = true)]
    end_customer_id: Option<&'a str>,
    #[schema(required = true, format = "uuid")]
    account_key_id: Option<&'a str>,
    /// The end customer's.
    #[schema(required = true, format = "uuid")]
    customer_key_id: Option<&'a str>,
    #[schema(required = true)]
    route: Option<&'a str>,
    accepted: u64,
    rate_limited: u64,
    quota_refused: u64,
    /// For the key, the customer or the account.
    refused: u64,
    /// Of `accepted`: what a limit in shadow mode would have refused.
    would_limit: u64,
    answers_1xx: u64,
    answers_2xx: u64,
    answers_3xx: u64,
    answers_4xx: u64,
    answers_5xx: u64,
    bytes_in: u64,
    bytes_out: u64,
    latency_us_total: u64,
}

/// The same with its account.
#[derive(Debug, Serialize, ToSchema)]
pub struct BilledRow<'a> {
    customer_id: &'a str,
    company_name: &'a str,
    tier: &'a str,
    annual_limit: u64,
    #[serde(flatten)]
    row: Row<'a>,
}

const OF_ACCOUNTS: [&str; 4] = ["customer_id", "company_name", "tier", "annual_limit"];
const COLUMNS: [&str; 19] = [
    "start",
    "environment",
    "end_customer_id",
    "account_key_id",
    "customer_key_id",
    "route",
    "accepted",
    "rate_limited",
    "quota_refused",
    "refused",
    "would_limit",
    "answers_1xx",
    "answers_2xx",
    "answers_3xx",
    "answers_4xx",
    "answers_5xx",
    "bytes_in",
    "bytes_out",
    "latency_us_total",
];

impl Format {
    /// Reads `format`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(params: &Params) -> Result<Self, InvalidField> {
        match params.text("format")? {
            None | Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some("ndjson") => Ok(Self::Ndjson),
            Some(_) => Err(InvalidField::new("format", "must be csv, json or ndjson")),
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        })
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Reads `environment`: production when it is left out, none when all are wanted.
///
/// # Errors
/// When it is none.
pub fn environment(params: &Params) -> Result<Option<Environment>, InvalidField> {
    match params.text("environment")? {
        None | Some("production") => Ok(Some(Environment::Production)),
        Some("test") => Ok(Some(Environment::Test)),
        Some("all") => Ok(None),
        Some(_) => {
            let reason = "must be test, production or all";
            Err(InvalidField::new("environment", reason))
        }
    }
}

/// What a file is called and how it is written.
#[derive(Debug)]
pub struct File {
    /// How.
    pub format: Format,
    /// Without extension; letters, digits and hyphens.
    pub name: String,
    /// Whether each row says whose it is.
    pub names_accounts: bool,
}

/// Answers with all rows.
///
/// # Errors
/// When the first of them can't be read.
pub async fn answer(app: App, mut export: Export, file: File) -> Result<Response, Problem> {
    let rows = export.next(&app.registry).await?;
    let (format, name) = (file.format, format!("{}.{}", file.name, file.format.extension()));
    let begun = Progress {
        app,
        export,
        file,
        rows,
        stage: Stage::Head,
    };
    let body = Body::from_stream(stream::try_unfold(begun, Progress::next));
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        (
            header::CONTENT_DISPOSITION,
            disposition.unwrap_or(HeaderValue::from_static("attachment")),
        ),
    ];
    Ok((headers, body).into_response())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was handed out.
    Head,
    /// Some rows were.
    Rows,
    Over,
}

struct Progress {
    app: App,
    export: Export,
    file: File,
    /// Rows that were read and not handed out.
    rows: Vec<Exported>,
    stage: Stage,
}

impl Progress {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, BrokenOff> {
        if self.stage == Stage::Over {
            return Ok(None);
        }
        let rows = std::mem::take(&mut self.rows);
        let is_last = rows.is_empty();
        let text = self.file.written(&rows, self.stage, is_last);
        let text = text.map_err(|error| BrokenOff::of("usage", &error))?;
        self.stage = if is_last { Stage::Over } else { Stage::Rows };
        if !is_last {
            let next = self.export.next(&self.app.registry).await;
            self.rows = next.map_err(|error: Error| BrokenOff::of("usage", &error))?;
        }
        Ok(Some((Bytes::from(text), self)))
    }
}

impl File {
    fn written(&self, rows: &[Exported], stage: Stage, is_last: bool) -> csv::Result<Vec<u8>> {
        match self.format {
            Format::Csv => self.csv(rows, stage),
            Format::Ndjson => ndjson(rows),
            Format::Json => json_array(rows, stage, is_last),
        }
    }

    fn csv(&self, rows: &[Exported], stage: Stage) -> csv::Result<Vec<u8>> {
        let mut csv = csv::WriterBuilder::new().from_writer(Vec::new());
        if stage == Stage::Head {
            let of_accounts = if self.names_accounts {
                &OF_ACCOUNTS[..]
            } else {
                &[]
            };
            csv.write_record(of_accounts.iter().chain(&COLUMNS))?;
        }
        for exported in rows {
            let billed = exported.billed.as_ref();
            let of_account = billed.map(|billed| {
                [
                    exported.row.caller.account.clone(),
                    harmless(&billed.company_name).into_owned(),
                    harmless(&billed.tier).into_owned(),
                    billed.annual_limit.to_string(),
                ]
            });
            let of_account = of_account.into_iter().flatten();
            csv.write_record(of_account.chain(cells(&row(exported))))?;
        }
        csv.into_inner().map_err(|error| error.into_error().into())
    }
}

fn ndjson(rows: &[Exported]) -> csv::Result<Vec<u8>> {
    let mut text = Vec::new();
    for exported in rows {
        write_json(&mut text, exported)?;
        text.push(b'\n');
    }
    Ok(text)
}

fn json_array(rows: &[Exported], stage: Stage, is_last: bool) -> csv::Result<Vec<u8>> {
    let mut text = Vec::new();
    for (at, exported) in rows.iter().enumerate() {
        let is_first = at == 0 && stage == Stage::Head;
        text.extend_from_slice(if is_first { b"[" } else { b",\n" });
        write_json(&mut text, exported)?;
    }
    if is_last {
        text.extend_from_slice(if stage == Stage::Head { b"[]\n" } else { b"]\n" });
    }
    Ok(text)
}

fn write_json(text: &mut Vec<u8>, exported: &Exported) -> csv::Result<()> {
    let row = row(exported);
    let written = match &exported.billed {
        None => serde_json::to_writer(text, &row),
        Some(billed) => {
            let row = BilledRow {
                customer_id: &exported.row.caller.account,
                company_name: &billed.company_name,
                tier: &billed.tier,
                annual_limit: billed.annual_limit,
                row,
            };
            serde_json::to_writer(text, &row)
        }
    };
    written.map_err(|error| std::io::Error::from(error).into())
}

fn row(exported: &Exported) -> Row<'_> {
    let caller = &exported.row.caller;
    let Counted {
        accepted,
        rate_limited,
        quota_refused,
        refused,
        would_limit,
        answers,
        bytes_in,
        bytes_out,
        latency_us,
    } = exported.row.counted;
    let [answers_1xx, answers_2xx, answers_3xx, answers_4xx, answers_5xx] = answers;
    Row {
        start: exported.row.start.to_rfc3339_seconds(),
        environment: &caller.environment,
        end_customer_id: given(&caller.customer),
        account_key_id: given(&caller.account_key),
        customer_key_id: given(&caller.customer_key),
        route: given(&caller.route),
        accepted,
        rate_limited,
        quota_refused,
        refused,
        would_limit,
        answers_1xx,
        answers_2xx,
        answers_3xx,
        answers_4xx,
        answers_5xx,
        bytes_in,
        bytes_out,
        latency_us_total: latency_us,
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// In the order of [`COLUMNS`].
fn cells(row: &Row<'_>) -> Vec<String> {
    let texts = [
        row.start.as_str(),
        row.environment,
        row.end_customer_id.unwrap_or_default(),
        row.account_key_id.unwrap_or_default(),
        row.customer_key_id.unwrap_or_default(),
        row.route.unwrap_or_default(),
    ];
    let numbers = [
        row.accepted,
        row.rate_limited,
        row.quota_refused,
        row.refused,
        row.would_limit,
        row.answers_1xx,
        row.answers_2xx,
        row.answers_3xx,
        row.answers_4xx,
        row.answers_5xx,
        row.bytes_in,
        row.bytes_out,
        row.latency_us_total,
    ];
    let texts = texts.into_iter().map(|text| harmless(text).into_owned());
    texts.chain(numbers.map(|number| number.to_string())).collect()
}

/// A text that no spreadsheet takes for a formula.
fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests;
