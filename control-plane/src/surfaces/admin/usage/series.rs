//! Usage over time and by group: what of it is asked for, and how it is shown.

use keyward_contract::{Environment, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::refusal::InvalidField;
use crate::operations::account_usage::Wanted;
use crate::store::usage::{Counted, Grouping};
use crate::surfaces::params::Params;
use crate::surfaces::span;

/// What was used from `start` to the next entry.
#[derive(Debug, Serialize, ToSchema)]
pub struct SeriesEntry {
    #[schema(format = DateTime)]
    start: String,
    accepted: u64,
    /// Refused for a rate or the quota.
    limited: u64,
    /// Refused for the key, the customer or the account.
    refused: u64,
    #[serde(flatten)]
    rest: Rest,
}

/// What was used with one key, by one end customer or on one route. It has the one name that `group_by` asked for; null
/// where calls had none.
#[derive(Debug, Serialize, ToSchema)]
pub struct Group {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    api_key_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    end_customer_id: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    route: Option<Option<String>>,
    accepted: u64,
    /// Refused for a rate or the quota.
    limited: u64,
    /// Refused for the key, the customer or the account.
    refused: u64,
    #[serde(flatten)]
    rest: Rest,
}

/// What is shown with `fields=all`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Rest {
    /// Of `limited`: for a rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rate_limited: Option<u64>,
    /// Of `limited`: for the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    quota_refused: Option<u64>,
    /// Of `accepted`: what a limit in shadow mode would have refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    would_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    answers: Option<Answers>,
    /// Bytes of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes_in: Option<u64>,
    /// Bytes of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes_out: Option<u64>,
    /// How long an accepted call took on average, in milliseconds; null when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 0)]
    latency_average_ms: Option<Option<f64>>,
}

/// What upstreams answered, by class.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answers {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    success: u64,
    #[serde(rename = "3xx")]
    redirection: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    server_error: u64,
}

/// What a call asks for.
#[derive(Debug)]
pub struct Asked {
    /// Which calls.
    pub wanted: Wanted,
    /// How they are shown.
    pub detail: Detail,
}

/// How counts are shown.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    shows_all: bool,
    grouping: Option<Grouping>,
}

impl Asked {
    /// Reads it.
    ///
    /// # Errors
    /// When a parameter occurs twice or can't be read.
    pub fn read(params: &Params) -> Result<Self, InvalidField> {
        let grouping = match params.text("group_by")? {
            None => None,
            Some("api_key") => Some(Grouping::Key),
            Some("end_customer") => Some(Grouping::EndCustomer),
            Some("route") => Some(Grouping::Route),
            Some(_) => {
                let reason = "must be api_key, end_customer or route";
                return Err(InvalidField::new("group_by", reason));
            }
        };
        let shows_all = match params.text("fields")? {
            None => false,
            Some("all") => true,
            Some(_) => return Err(InvalidField::new("fields", "must be all, or left out")),
        };
        let wanted = Wanted {
            time: span::time(params)?,
            environment: environment(params)?,
            customer: parsed(params, "end_customer_id", "must be the id of an end customer")?,
            key: parsed(params, "api_key_id", "must be the id of an API key")?,
            route: route(params)?,
            group_by: grouping,
        };
        let detail = Detail { shows_all, grouping };
        Ok(Self { wanted, detail })
    }
}

fn environment(params: &Params) -> Result<Option<Environment>, InvalidField> {
    match params.text("environment")? {
        None => Ok(None),
        Some("test") => Ok(Some(Environment::Test)),
        Some("production") => Ok(Some(Environment::Production)),
        Some(_) => Err(InvalidField::new("environment", "must be test or production")),
    }
}

fn parsed<T: std::str::FromStr>(
    params: &Params,
    name: &'static str,
    reason: &'static str,
) -> Result<Option<T>, InvalidField> {
    let parsed = params.text(name)?.map(str::parse).transpose();
    parsed.map_err(|_| InvalidField::new(name, reason))
}

fn route(params: &Params) -> Result<Option<String>, InvalidField> {
    match params.text("route")? {
        Some(text) if text.chars().count() > 255 => {
            Err(InvalidField::new("route", "must have at most 255 characters"))
        }
        route => Ok(route.map(str::to_owned)),
    }
}

impl Detail {
    pub(super) fn entries(self, series: &[(UnixMillis, Counted)]) -> Vec<SeriesEntry> {
        let entries = series.iter();
        entries
            .map(|(start, counted)| SeriesEntry {
                start: start.to_rfc3339_seconds(),
                accepted: counted.accepted,
                limited: counted.counts().limited,
                refused: counted.refused,
                rest: self.rest(counted),
            })
            .collect()
    }

    pub(super) fn groups(self, groups: Vec<(Option<String>, Counted)>) -> Vec<Group> {
        let groups = groups.into_iter();
        groups
            .map(|(name, counted)| {
                let named = |by| (self.grouping == Some(by)).then(|| name.clone());
                Group {
                    api_key_id: named(Grouping::Key),
                    end_customer_id: named(Grouping::EndCustomer),
                    route: named(Grouping::Route),
                    accepted: counted.accepted,
                    limited: counted.counts().limited,
                    refused: counted.refused,
                    rest: self.rest(&counted),
                }
            })
            .collect()
    }

    fn rest(self, counted: &Counted) -> Rest {
        if !self.shows_all {
            return Rest::default();
        }
        let [informational, success, redirection, client_error, server_error] = counted.answers;
        Rest {
            rate_limited: Some(counted.rate_limited),
            quota_refused: Some(counted.quota_refused),
            would_limit: Some(counted.would_limit),
            answers: Some(Answers {
                informational,
                success,
                redirection,
                client_error,
                server_error,
            }),
            bytes_in: Some(counted.bytes_in),
            bytes_out: Some(counted.bytes_out),
            latency_average_ms: Some(average_ms(counted.latency_us, counted.accepted)),
        }
    }
}

/// To the microsecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of one call stay far below 2^53"
)]
fn average_ms(total_us: u64, calls: u64) -> Option<f64> {
    (total_us.saturating_add(calls / 2))
        .checked_div(calls)
        .map(|average| average as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_is_rounded_to_the_microsecond() {
        assert_eq!(average_ms(0, 0), None);
        assert_eq!(average_ms(7_000, 2), Some(3.5));
        assert_eq!(average_ms(2_999, 2), Some(1.5));
    }
}
