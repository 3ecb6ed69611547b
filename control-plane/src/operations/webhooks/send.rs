//! One attempt to deliver: signed, without redirects, in at most ten seconds. Of the answer nothing is kept but its
//! status; its body is read so that the connection can be used again, and no further than 64 KiB.

use std::error::Error as _;
use std::time::Duration;

use keyward_contract::UnixMillis;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue};

use super::context;
use crate::domain::seal::MasterKey;
use crate::domain::webhook::{Secret, Webhook};
use crate::operations::Result;
use crate::store::webhooks::attempts::Taken;

const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MOST_OF_AN_ANSWER: usize = 64 * 1024;
const LONGEST_REASON: usize = 200;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An answer with this status.
    Answered(u16),
    /// No answer, for this reason. Holds no secret and no address.
    Failed(String),
}

/// The client that all attempts share.
///
/// # Errors
/// When the machine has no certificates to trust.
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .user_agent(concat!("Keyward/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Makes one attempt.
pub(super) async fn attempt(
    client: &reqwest::Client,
    master_key: &MasterKey,
    webhook: &Webhook,
    taken: &Taken,
    now: UnixMillis,
) -> Outcome {
    let headers = match signatures(master_key, webhook, taken, now) {
        Ok(signatures) => headers(taken, now, &signatures),
        Err(error) => {
            tracing::error!(webhook = %webhook.id, %error, "nothing can be signed: was the master key changed?");
            return Outcome::Failed("the signing secret can't be opened".to_owned());
        }
    };
    let Ok(headers) = headers else {
        return Outcome::Failed("the message can't be sent".to_owned());
    };
    let request = client
        .post(webhook.endpoint.url().clone())
        .headers(headers)
        .body(taken.body.clone());
    match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            read_away(response).await;
            Outcome::Answered(status)
        }
        Err(error) => Outcome::Failed(reason(error)),
    }
}

/// The new secret's signature, and while the old one is good, its own after it.
fn signatures(master_key: &MasterKey, webhook: &Webhook, taken: &Taken, now: UnixMillis) -> Result<String> {
    let old = webhook.old_secret.as_ref().filter(|(_, until)| now < *until);
    let mut signatures = Vec::with_capacity(2);
    for sealed in std::iter::once(&webhook.secret).chain(old.map(|(sealed, _)| sealed)) {
        let opened = master_key.open(context(webhook.id).as_bytes(), sealed)?;
        let secret = Secret::from_bytes(opened.to_vec());
        signatures.push(secret.sign(&taken.message_id, seconds(now), taken.body.as_bytes()));
    }
    Ok(signatures.join(" "))
}

fn headers(
    taken: &Taken,
    now: UnixMillis,
    signatures: &str,
) -> std::result::Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", HeaderValue::from_str(&taken.message_id)?);
    headers.insert("webhook-timestamp", HeaderValue::from(seconds(now)));
    headers.insert("webhook-signature", HeaderValue::from_str(signatures)?);
    Ok(headers)
}

fn seconds(at: UnixMillis) -> i64 {
    at.0.div_euclid(1_000)
}

async fn read_away(mut response: reqwest::Response) {
    let mut read = 0;
    while let Ok(Some(piece)) = response.chunk().await {
        read += piece.len();
        if read > MOST_OF_AN_ANSWER {
            // What is left ends with the connection.
            return;
        }
    }
}

/// The first and the innermost cause, which say what and why.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let what = if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    } else if error.is_connect() {
        "could not connect"
    } else {
        "the connection broke"
    };
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    let text = cause.map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"));
    text.chars().take(LONGEST_REASON).collect()
}
