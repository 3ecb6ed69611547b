//! Who counts, for how long, and what a waiting change is told.

use super::roster::DEAD_AFTER;
use super::*;

fn hello(id: &str, boot_epoch: u64) -> feed::Hello {
    feed::Hello {
        gateway_id: id.into(),
        boot_epoch,
        ..feed::Hello::default()
    }
}

fn denying(id: &str, bound_ms: u64) -> feed::Hello {
    feed::Hello {
        max_staleness_ms: bound_ms,
        denies_when_stale: true,
        ..hello(id, 1)
    }
}

fn gateways() -> Gateways {
    Gateways::new(Duration::from_millis(50))
}

fn missing_after(gateways: &Gateways, later: Duration) -> Vec<String> {
    let now = Instant::now() + later;
    gateways.0.state.lock().standing(1, now).propagation().missing
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_header_reads_as_documented() {
    let mut propagation = Propagation {
        acknowledged: 3,
        missing: vec![],
    };
    assert_eq!(propagation.to_string(), "complete; gateways=3");
    propagation.acknowledged = 2;
    propagation.missing = vec!["edge-7".into(), "edge-9".into()];
    assert_eq!(
        propagation.to_string(),
        "partial; gateways=2; missing=edge-7,edge-9"
    );
    assert_eq!(Propagation::default().to_string(), "complete; gateways=0");
}

#[tokio::test]
async fn a_change_is_complete_once_every_live_gateway_has_acknowledged() {
    let gateways = Gateways::new(Duration::from_secs(60));
    let (a, b) = (
        gateways.join(&hello("a", 1), 0).unwrap(),
        gateways.join(&hello("b", 1), 0).unwrap(),
    );
    gateways.announce(1);
    let waiting = tokio::spawn({
        let gateways = gateways.clone();
        async move { gateways.acknowledged(1).await }
    });
    a.acknowledge(1);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    b.acknowledge(1);
    assert_eq!(waiting.await.unwrap().to_string(), "complete; gateways=2");
}

#[tokio::test]
async fn a_silent_gateway_makes_a_change_partial_and_is_named() {
    let gateways = gateways();
    let (a, _b) = (
        gateways.join(&hello("a", 1), 0).unwrap(),
        gateways.join(&hello("b", 1), 0).unwrap(),
    );
    a.acknowledge(1);
    let propagation = gateways.acknowledged(1).await;
    assert_eq!(propagation.to_string(), "partial; gateways=1; missing=b");
}

#[tokio::test]
async fn a_goodbye_ends_the_wait() {
    let gateways = Gateways::new(Duration::from_secs(60));
    let a = gateways.join(&hello("a", 1), 0).unwrap();
    let waiting = tokio::spawn({
        let gateways = gateways.clone();
        async move { gateways.acknowledged(1).await }
    });
    tokio::task::yield_now().await;
    a.goodbye();
    assert_eq!(waiting.await.unwrap().to_string(), "complete; gateways=0");
    drop(a);
    assert_eq!(gateways.status()[0].state, "stopped");
}

#[tokio::test]
async fn a_refused_record_is_never_complete_and_not_waited_for() {
    let gateways = Gateways::new(Duration::from_secs(60));
    let a = gateways.join(&hello("a", 1), 0).unwrap();
    a.refuse(1);
    a.acknowledge(2);
    assert_eq!(
        gateways.acknowledged(1).await.to_string(),
        "partial; gateways=0; missing=a"
    );
    assert_eq!(gateways.acknowledged(2).await.to_string(), "complete; gateways=1");
}

#[test]
fn a_lost_gateway_counts_for_ten_seconds() {
    let gateways = gateways();
    drop(gateways.join(&hello("a", 1), 0).unwrap());
    assert_eq!(missing_after(&gateways, 9 * SECOND), ["a"]);
    assert!(missing_after(&gateways, 10 * SECOND).is_empty());
}

#[test]
fn a_connected_gateway_counts_however_long_it_is_silent() {
    let gateways = gateways();
    let _a = gateways.join(&hello("a", 1), 0).unwrap();
    assert_eq!(missing_after(&gateways, 100 * SECOND), ["a"]);
}

#[test]
fn a_gateway_that_denies_when_stale_counts_until_its_bound_has_run_out() {
    for bound in [3, 30] {
        let gateways = gateways();
        let link = gateways.join(&denying("a", bound * 1000), 0).unwrap();
        let bound = Duration::from_secs(bound);
        assert!(
            missing_after(&gateways, bound + SECOND).is_empty(),
            "connected, {bound:?}"
        );
        drop(link);
        assert_eq!(missing_after(&gateways, bound - SECOND), ["a"], "lost, {bound:?}");
        assert!(
            missing_after(&gateways, bound + SECOND).is_empty(),
            "lost, {bound:?}"
        );
    }
}

#[tokio::test]
async fn a_wait_ends_when_the_bound_of_a_partitioned_gateway_runs_out() {
    let gateways = Gateways::new(Duration::from_secs(60));
    drop(gateways.join(&denying("a", 100), 0).unwrap());
    let propagation = gateways.acknowledged(1).await;
    assert_eq!(propagation.to_string(), "complete; gateways=0");
}

#[test]
fn a_live_gateways_id_is_its_own() {
    let gateways = gateways();
    let first = gateways.join(&hello("a", 5), 0).unwrap();
    assert_eq!(gateways.join(&hello("a", 6), 0).unwrap_err(), Unwelcome::Taken);
    // Its stream has closed: whoever comes next gets in at once.
    drop(first);
    assert!(gateways.join(&hello("a", 6), 0).is_ok());
}

#[test]
fn a_silent_stream_gives_way_to_a_later_boot_and_never_to_an_earlier_one() {
    let gateways = gateways();
    let first = gateways.join(&hello("a", 5), 0).unwrap();
    let later = Instant::now() + DEAD_AFTER;
    let join = |epoch| {
        let mut state = gateways.0.state.lock();
        state.check(&hello("a", epoch), later)?;
        let session = state.next_session();
        state.join(&hello("a", epoch), 0, session, later);
        Ok(())
    };
    assert_eq!(join(4), Err(Unwelcome::Taken));
    assert!(!first.ends().replaced.is_cancelled());
    join(6).unwrap();
    assert!(first.ends().replaced.is_cancelled());
    // What the old stream still says changes nothing.
    first.acknowledge(9);
    drop(first);
    assert_eq!(
        (gateways.status()[0].revision, gateways.status()[0].state),
        (0, "syncing")
    );
}

#[test]
fn lag_is_counted_from_the_first_commit_that_is_missing() {
    let gateways = gateways();
    let a = gateways.join(&hello("a", 1), 0).unwrap();
    gateways.announce(1);
    gateways.announce(2);
    a.acknowledge(1);
    let lag = |later| {
        let state = gateways.0.state.lock();
        state
            .status("a", &state.gateways["a"], Instant::now() + later)
            .lag_seconds
    };
    assert!((4.9..6.0).contains(&lag(5 * SECOND)));
    a.acknowledge(2);
    assert!(lag(5 * SECOND) == 0.0);
}
