//! How long a page of a long list takes, at its beginning, in its middle and at its end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_harness::http_client;

use super::{Side, fill};

const TIMES: usize = 15;

/// A page, and how long it took.
#[derive(Clone, Debug)]
pub struct PageTimes {
    /// What was asked for.
    pub path: String,
    /// Each time, shortest first.
    pub times: Vec<Duration>,
}

/// Asks for pages of a side that was filled with so many end customers and accounts.
///
/// # Errors
/// When a page isn't answered with 200.
pub async fn measure(side: &Side, count: u64) -> anyhow::Result<Vec<PageTimes>> {
    let (mut measured, bearer) = (Vec::new(), format!("Bearer {}", side.account_key));
    for offset in [0, count / 2, count.saturating_sub(100)] {
        let path = format!("/customers?limit=100&offset={offset}");
        measured.push(page(side, ("authorization", &bearer), path).await?);
    }
    let cursor = |number| {
        let (at, id) = fill::account_at(number);
        format!("&cursor={}", URL_SAFE_NO_PAD.encode(format!("{at}.{id}")))
    };
    let (half, end) = (cursor(count / 2), cursor(150));
    let paths = [
        "/admin/customers?limit=100".to_owned(),
        format!("/admin/customers?limit=100{half}"),
        format!("/admin/customers?limit=100{end}"),
        format!("/admin/customers?limit=100&tier=growth{half}"),
        format!("/admin/customers?limit=100&status=suspended{half}"),
        format!("/admin/customers?limit=100&tier=custom&status=cancelled{half}"),
        format!("/admin/customers?limit=100&query=filled{half}"),
        format!("/admin/customers?limit=100&query=company%20{}", count / 2),
        "/admin/customers?limit=100&query=nobody-has-this".to_owned(),
        "/admin/audit?limit=100".to_owned(),
        format!("/admin/audit?limit=100&cursor={}", count / 2),
        format!("/admin/audit?limit=100&actor=actor-7&cursor={}", count / 2),
        "/admin/audit?limit=100&action=account.suspended&to=2023-11-16".to_owned(),
        format!("/admin/customers/{}/api-keys", side.account),
    ];
    for path in paths {
        let mut times = page(side, ("x-api-key", &side.admin_key), path).await?;
        // What nobody can read is said in words.
        times.path = times
            .path
            .replace(&half, "&cursor=(middle)")
            .replace(&end, "&cursor=(end)")
            .replace(&side.account, "{id}");
        measured.push(times);
    }
    Ok(measured)
}

async fn page(side: &Side, (name, value): (&str, &str), path: String) -> anyhow::Result<PageTimes> {
    let (client, url) = (http_client()?, format!("{}{path}", side.control_plane.api_url()));
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let started = Instant::now();
        let answer = client.get(&url).header(name, value).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        times.push(started.elapsed());
        ensure!(status.is_success(), "{path} was answered with {status}: {text}");
    }
    times.sort_unstable();
    Ok(PageTimes { path, times })
}
