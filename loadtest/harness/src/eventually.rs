//! Asking again until it holds, instead of sleeping and hoping.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep, timeout_at};

const PAUSE: Duration = Duration::from_millis(10);

/// Calls `probe` until it succeeds, at most until `within` has passed, with 10 ms between two attempts.
///
/// # Errors
/// The last attempt's error once the time is over.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let mut attempts = 0;
/// let third = keyward_harness::eventually(std::time::Duration::from_secs(1), || {
///     attempts += 1;
///     async move {
///         anyhow::ensure!(attempts == 3, "only {attempts} attempts so far");
///         Ok(attempts)
///     }
/// });
/// assert_eq!(third.await?, 3);
/// # Ok(())
/// # }
/// ```
pub async fn eventually<T, P, F>(within: Duration, mut probe: P) -> anyhow::Result<T>
where
    P: FnMut() -> F,
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + within;
    let mut last = anyhow::anyhow!("the first attempt never ended");
    while Instant::now() < deadline {
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = error,
            Err(_) => break,
        }
        sleep(PAUSE).await;
    }
    Err(last).context(format!("not within {within:?}"))
}
