//! `GET /admin/audit/export`

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde::Serialize;

use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::operations::Error;
use crate::operations::audit_trail::Walk;
use crate::store::audit::ChainedEvent;
use crate::surfaces::broken_off::BrokenOff;
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One JSON object a line.
    Jsonl,
    /// With a line of names. What is absent is empty.
    Csv,
}

/// A row with all that its hash is made of; `before` and `after` are the stored texts, not JSON in JSON.
#[derive(Serialize)]
struct Row<'a> {
    number: i64,
    id: &'a str,
    at: String,
    at_ms: i64,
    actor_kind: &'a str,
    actor_id: &'a str,
    action: &'a str,
    target_kind: &'a str,
    target_id: &'a str,
    customer_id: Option<&'a str>,
    before: Option<&'a str>,
    after: Option<&'a str>,
    request_id: &'a str,
    address: &'a str,
    previous_hash: &'a str,
    hash: &'a str,
}

const COLUMNS: [&str; 16] = [
    "number",
    "id",
    "at",
    "at_ms",
    "actor_kind",
    "actor_id",
    "action",
    "target_kind",
    "target_id",
    "customer_id",
    "before",
    "after",
    "request_id",
    "address",
    "previous_hash",
    "hash",
];

/// What is wanted of the trail.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportParams {
    /// One JSON object a line, or CSV with a line of names.
    #[param(format = "export-format", default = "jsonl", example = "csv")]
    pub format: Option<String>,
    /// Only what was changed from this instant on.
    #[param(format = "instant", example = "2026-01-19")]
    pub from: Option<String>,
    /// Only what was changed before this instant.
    #[param(format = "instant", example = "2026-01-20T10:30:00Z")]
    pub to: Option<String>,
}

/// Hands out the trail, oldest first, with what a third party needs to verify it: how the hash is made, `store::audit`
/// says. Streamed: however long it is, a thousand rows are held at once. An error after the first of them breaks the
/// answer off, so that nobody takes a part for the whole.
///
/// # Errors
/// When the span or the format is none, or the store is away.
#[utoipa::path(
    get,
    path = "/admin/audit/export",
    operation_id = "exportAuditTrail",
    tag = "operations",
    params(ExportParams),
    responses(
        (
            status = 200,
            description = "The trail, oldest first.",
            content((String = "application/x-ndjson"), (String = "text/csv")),
        ),
    ),
)]
pub async fn export(State(app): State<App>, params: Params) -> Result<Response, Problem> {
    let instant = |name| -> Result<_, InvalidField> {
        params
            .text(name)?
            .map(|text| moment::instant(name, text))
            .transpose()
    };
    let format = match params.text("format")? {
        None | Some("jsonl") => Format::Jsonl,
        Some("csv") => Format::Csv,
        Some(_) => return Err(InvalidField::new("format", "must be jsonl or csv").into()),
    };
    let mut walk = Walk::begin(&app.registry, instant("from")?, instant("to")?).await?;
    let first = walk.next(&app.registry).await?;
    let head = match format {
        Format::Jsonl => Vec::new(),
        Format::Csv => csv_text(|csv| csv.write_record(COLUMNS)).map_err(|_| Problem::Internal)?,
    };
    let begun = Progress {
        app,
        walk,
        format,
        head: Some(head),
        rows: first,
    };
    let body = Body::from_stream(stream::try_unfold(begun, Progress::next));
    let (kind, name) = match format {
        Format::Jsonl => ("application/x-ndjson", "attachment; filename=\"audit.jsonl\""),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(name)),
    ];
    Ok((headers, body).into_response())
}

struct Progress {
    app: App,
    walk: Walk,
    format: Format,
    /// What comes before the first row.
    head: Option<Vec<u8>>,
    /// Rows that were read and not handed out.
    rows: Vec<ChainedEvent>,
}

impl Progress {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, BrokenOff> {
        let head = self.head.take();
        if self.rows.is_empty() && head.is_none() {
            return Ok(None);
        }
        let mut text = head.unwrap_or_default();
        let rows = std::mem::take(&mut self.rows);
        let written = match self.format {
            Format::Jsonl => jsonl(&rows),
            Format::Csv => csv_text(|csv| rows.iter().try_for_each(|row| csv.serialize(wire(row)))),
        };
        text.extend(written.map_err(|error| BrokenOff::of("the audit trail", &error))?);
        if !rows.is_empty() {
            let next = self.walk.next(&self.app.registry).await;
            self.rows = next.map_err(|error: Error| BrokenOff::of("the audit trail", &error))?;
        }
        Ok(Some((Bytes::from(text), self)))
    }
}

fn jsonl(rows: &[ChainedEvent]) -> csv::Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, &wire(row)).map_err(std::io::Error::from)?;
        text.push(b'\n');
    }
    Ok(text)
}

fn csv_text(write: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> csv::Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    write(&mut csv)?;
    csv.into_inner().map_err(|error| error.into_error().into())
}

fn wire(row: &ChainedEvent) -> Row<'_> {
    let event = &row.stored.event;
    Row {
        number: row.stored.number,
        id: &event.id,
        at: event.at.to_rfc3339_millis(),
        at_ms: event.at.0,
        actor_kind: &event.actor_kind,
        actor_id: &event.actor_id,
        action: &event.action,
        target_kind: &event.target_kind,
        target_id: &event.target_id,
        customer_id: event.account.as_deref(),
        before: event.before.as_deref(),
        after: event.after.as_deref(),
        request_id: &event.request_id,
        address: &event.address,
        previous_hash: &row.previous_hash,
        hash: &row.stored.hash,
    }
}
