//! No accepted call after an acknowledged revocation, on any gateway, on any connection, under load.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyward_harness::{Signal, eventually, metric};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Account, Customer, text};
use crate::busy_upstream::BusyUpstream;
use crate::load::{Load, Progress};
use crate::stack::{Plan, SOON, Stack};
use crate::wire::{Keys, Wire};

const GATEWAYS: usize = 2;
const REVOCATIONS: usize = 50;
/// So many of them end during each hand-over.
const TAKEN_OVER: usize = 10;
/// Connections under load to each gateway: several for each of its two workers.
const LOADED: usize = 4;
/// Calls with a dead key to each gateway right after its end, on connections that have carried it and on new ones.
const WARM: usize = 5;
const FRESH: usize = 5;

/// How rights end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    CustomerDeleted,
    CustomerRotated,
    AccountKeyRevoked,
    AccountSuspended,
}

impl Ending {
    const ALL: [Self; 4] = [
        Self::CustomerDeleted,
        Self::CustomerRotated,
        Self::AccountKeyRevoked,
        Self::AccountSuspended,
    ];

    /// What the gateway answers from then on.
    fn refusal(self) -> (u16, &'static str) {
        match self {
            Self::CustomerDeleted | Self::CustomerRotated => (403, "FORBIDDEN"),
            Self::AccountKeyRevoked => (401, "EXPIRED_API_KEY"),
            Self::AccountSuspended => (403, "ACCOUNT_SUSPENDED"),
        }
    }
}

/// An end customer with an account key, whose rights will end.
#[derive(Debug)]
struct Victim {
    ending: Ending,
    account: Account,
    customer: Customer,
    /// Set once the end was acknowledged: calls that begin later must be refused.
    is_dead: AtomicBool,
}

impl Victim {
    fn keys(&self) -> Keys<'_> {
        Keys {
            account: &self.account.key,
            customer: &self.customer.key,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_accepted_after_an_acknowledged_revocation_under_load() {
    let plan = Plan {
        gateways: GATEWAYS,
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let victims = Arc::new(victims(&stack, REVOCATIONS).await);
    let load = load(&stack, &victims).await;
    for victim in victims.iter() {
        let mut warm = warmed(&stack, victim).await;
        end(&stack, victim).await;
        victim.is_dead.store(true, Ordering::SeqCst);
        for (gateway, wires) in stack.gateways.iter().zip(&mut warm) {
            for wire in wires {
                refused(wire, victim, "a warm connection").await;
            }
            for _ in 0..FRESH {
                let mut wire = Wire::open(gateway.address()).await;
                refused(&mut wire, victim, "a new connection").await;
            }
        }
    }
    let mut statuses = HashMap::<u16, u64>::new();
    for (status, count) in load.stop().await.into_iter().flatten() {
        *statuses.entry(status).or_default() += count;
    }
    let count = |status: u16| statuses.get(&status).copied().unwrap_or_default();
    assert!(
        count(200) > 500 && count(401) + count(403) > 50,
        "hardly any load: {statuses:?}"
    );
    assert!(
        statuses.keys().all(|status| [200, 401, 403].contains(status)),
        "{statuses:?}"
    );
}

/// The elder serves the connections that it had, the heir all others: neither accepts what was ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_accepted_after_an_acknowledged_revocation_while_another_program_takes_over() {
    let plan = Plan {
        gateways: GATEWAYS,
        ..Plan::default()
    };
    let mut stack = Stack::with(plan).await;
    let victims = victims(&stack, REVOCATIONS).await;
    for some in victims.chunks(TAKEN_OVER) {
        let mut warm = Vec::new();
        for victim in some {
            warm.push(warmed(&stack, victim).await);
        }
        stack.gateways[0].begin_upgrade().unwrap();
        for (victim, warm) in some.iter().zip(&mut warm) {
            end(&stack, victim).await;
            for wire in warm.iter_mut().flatten() {
                refused(wire, victim, "a warm connection").await;
            }
            for _ in 0..FRESH {
                let mut wire = Wire::open(stack.gateway()).await;
                refused(&mut wire, victim, "a new connection").await;
            }
        }
        stack.gateways[0].upgraded().await.unwrap();
        drop(warm);
        stack.gateways[0].is_alone(SOON).await.unwrap();
    }
}

/// It may wake up and forward what it had decided before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_while_an_elder_with_calls_says_nothing() {
    let plan = Plan {
        gateways: 1,
        gateway_tables: "[drain]\ntimeout = \"60s\"\n",
        wait: Duration::from_secs(2),
        ..Plan::default()
    };
    let mut stack = Stack::with(plan).await;
    let victims = victims(&stack, 1).await;
    let mut warm = warmed(&stack, &victims[0]).await;
    let gateway = &mut stack.gateways[0];
    gateway.begin_upgrade().unwrap();
    gateway.upgraded().await.unwrap();
    gateway.process().signal(Signal::Stop).unwrap();
    let Victim {
        account, customer, ..
    } = &victims[0];
    let path = format!("/customers/{}", customer.id);
    let answer = stack
        .portal(&account.key, Method::DELETE, &path, Value::Null)
        .await;
    let told = answer.header("keyward-propagation").to_owned();
    stack.gateways[0].process().signal(Signal::Continue).unwrap();
    assert!(told.starts_with("partial; "), "{told}");
    // What is acknowledged later is so with all that came before.
    let acknowledged = eventually(SOON, || async {
        let named = json!({ "name": "another" });
        let answer = stack
            .portal(&account.key, Method::POST, "/customers", named)
            .await;
        let told = answer.header("keyward-propagation");
        anyhow::ensure!(told.starts_with("complete; "), "{told}");
        Ok(())
    });
    acknowledged.await.unwrap();
    for wire in warm.iter_mut().flatten() {
        refused(wire, &victims[0], "a connection of the elder's").await;
    }
}

/// Who gave everything away and got it back follows, writes and acknowledges as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_are_acknowledged_as_before_when_an_upgrade_has_failed() {
    let plan = Plan {
        gateways: GATEWAYS,
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let gateway = &stack.gateways[0];
    let victims = victims(&stack, Ending::ALL.len()).await;
    // The heir fails when it was given everything: the address is somebody else's.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (admin, other) = (gateway.admin_url(), taken.local_addr().unwrap().to_string());
    let admin = admin.trim_start_matches("http://");
    gateway.rewrite(|text| text.replace(admin, &other)).unwrap();
    gateway.begin_upgrade().unwrap();
    let failed = eventually(SOON, || async {
        let metrics = gateway.metrics().await?;
        let failed = metric(&metrics, "keyward_upgrades_total", &["outcome=\"failed\""]);
        anyhow::ensure!(failed == Some(1.0), "{failed:?}");
        Ok(())
    });
    failed.await.unwrap();
    gateway.rewrite(|text| text.replace(&other, admin)).unwrap();
    for victim in &victims {
        let mut wire = Wire::open(gateway.address()).await;
        assert_eq!(wire.call(victim.keys()).await.status, 200);
        end(&stack, victim).await;
        refused(&mut wire, victim, "a warm connection").await;
    }
}

#[tokio::test]
async fn a_suspended_account_calls_again_when_it_is_active_but_its_revoked_keys_never() {
    let stack = Stack::start().await;
    let account = stack.account().await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    let path = format!("/admin/customers/{}", account.id);
    let keys_path = format!("{path}/api-keys");
    let named = json!({ "name": "second" });
    let second = stack
        .admin(Method::POST, &keys_path, named)
        .await
        .expect(201)
        .json();
    let second_key = text(&second["api_key"]);
    let status = async |account: &str| {
        let keys = Keys {
            account,
            customer: &customer.key,
        };
        crate::wire::call(stack.gateway(), keys).await.status
    };
    assert_eq!(
        (status(&account.key).await, status(&second_key).await),
        (200, 200)
    );
    let revoked = format!("{keys_path}/{}", text(&second["api_key_id"]));
    stack
        .admin(Method::DELETE, &revoked, Value::Null)
        .await
        .expect(200)
        .in_force_at(1);
    for (wanted, first, second) in [("suspended", 403, 401), ("active", 200, 401)] {
        let change = json!({ "status": wanted });
        stack
            .admin(Method::PATCH, &path, change)
            .await
            .expect(200)
            .in_force_at(1);
        assert_eq!(
            (status(&account.key).await, status(&second_key).await),
            (first, second),
            "{wanted}"
        );
    }
}

#[tokio::test]
async fn a_call_that_still_waits_for_its_upstream_goes_no_further_once_its_key_has_ended() {
    let upstream = BusyUpstream::start().await;
    let plan = Plan {
        upstream: Some(upstream.address),
        gateway_tables: "[timeouts]\nconnect = \"30s\"\n",
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let account = stack.account().await;
    let (ended, live) = (
        stack.api.customer(&account.key, "ended").await,
        stack.api.customer(&account.key, "live").await,
    );
    let (gateway, account_key, customer_key) = (stack.gateway(), account.key.clone(), ended.key.clone());
    let waiting = tokio::spawn(async move {
        let keys = Keys {
            account: &account_key,
            customer: &customer_key,
        };
        crate::wire::call(gateway, keys).await
    });
    let begun = eventually(SOON, || async {
        let metrics = stack.gateways[0].metrics().await?;
        let in_flight = metric(&metrics, "keyward_requests_in_flight", &[]);
        anyhow::ensure!(in_flight == Some(1.0), "{in_flight:?} in flight");
        Ok(())
    });
    begun.await.unwrap();
    let path = format!("/customers/{}", ended.id);
    let deleted = stack
        .portal(&account.key, Method::DELETE, &path, Value::Null)
        .await;
    deleted.expect(204).in_force_at(1);
    assert!(!waiting.is_finished(), "it did not wait");

    upstream.accept_from_now_on();
    let heard = waiting.await.unwrap();
    assert_eq!((heard.status, heard.code().as_str()), (403, "FORBIDDEN"));
    let keys = Keys {
        account: &account.key,
        customer: &live.key,
    };
    assert_eq!(crate::wire::call(gateway, keys).await.status, 200);
}

/// One account for all customers that end alone, and one account for each that ends whole.
async fn victims(stack: &Stack, count: usize) -> Vec<Victim> {
    let shared = stack.account().await;
    let mut victims = Vec::new();
    for (number, ending) in Ending::ALL.into_iter().cycle().take(count).enumerate() {
        let account = match ending {
            Ending::CustomerDeleted | Ending::CustomerRotated => shared.clone(),
            Ending::AccountKeyRevoked | Ending::AccountSuspended => stack.account().await,
        };
        let customer = stack
            .api
            .customer(&account.key, &format!("customer {number}"))
            .await;
        victims.push(Victim {
            ending,
            account,
            customer,
            is_dead: AtomicBool::new(false),
        });
    }
    victims
}

/// Connections to each gateway on which the victim has just been accepted.
async fn warmed(stack: &Stack, victim: &Victim) -> Vec<Vec<Wire>> {
    let mut warm = Vec::new();
    for gateway in &stack.gateways {
        let mut wires = Vec::new();
        for _ in 0..WARM {
            let mut wire = Wire::open(gateway.address()).await;
            let heard = wire.call(victim.keys()).await;
            assert_eq!(heard.status, 200, "{:?}: {}", victim.ending, heard.body);
            wires.push(wire);
        }
        warm.push(wires);
    }
    warm
}

/// Ends the victim's rights, and sees to it that all gateways have said so.
async fn end(stack: &Stack, victim: &Victim) {
    let Victim {
        account, customer, ..
    } = victim;
    let of_customer = format!("/customers/{}", customer.id);
    let of_account = format!("/admin/customers/{}", account.id);
    let answer = match victim.ending {
        Ending::CustomerDeleted => {
            stack
                .portal(&account.key, Method::DELETE, &of_customer, Value::Null)
                .await
        }
        Ending::CustomerRotated => {
            let path = format!("{of_customer}/rotate-key");
            stack.portal(&account.key, Method::POST, &path, Value::Null).await
        }
        Ending::AccountKeyRevoked => {
            let path = format!("{of_account}/api-keys/{}", account.key_id);
            stack.admin(Method::DELETE, &path, Value::Null).await
        }
        Ending::AccountSuspended => {
            let change = json!({ "status": "suspended" });
            stack.admin(Method::PATCH, &of_account, change).await
        }
    };
    assert!(
        (200..300).contains(&answer.status),
        "{:?}: {}",
        victim.ending,
        answer.text
    );
    answer.in_force_at(GATEWAYS);
}

async fn refused(wire: &mut Wire, victim: &Victim, on: &str) {
    let heard = wire.call(victim.keys()).await;
    let (status, code) = victim.ending.refusal();
    assert_eq!(
        heard.status, status,
        "{:?} on {on}: {}",
        victim.ending, heard.body
    );
    assert_eq!(heard.code(), code, "{:?} on {on}", victim.ending);
}

/// Calls with every victim's keys, all the time, on several connections to every gateway.
async fn load(stack: &Stack, victims: &Arc<Vec<Victim>>) -> Load<HashMap<u16, u64>> {
    let places = stack.gateways.iter();
    let places = places.flat_map(|gateway| (0..LOADED).map(|first| (gateway.address(), first * 7)));
    Load::start(places, |place, progress| {
        call_all_the_time(place, Arc::clone(victims), progress)
    })
    .await
}

/// Answers how often each status was answered.
async fn call_all_the_time(
    (gateway, first): (SocketAddr, usize),
    victims: Arc<Vec<Victim>>,
    progress: Progress,
) -> HashMap<u16, u64> {
    let mut statuses = HashMap::new();
    let mut wire = Wire::open(gateway).await;
    for victim in victims.iter().cycle().skip(first) {
        if progress.is_over() {
            break;
        }
        // Looked at before the call begins.
        let is_dead = victim.is_dead.load(Ordering::SeqCst);
        let heard = wire.call(victim.keys()).await;
        assert!(
            !is_dead || heard.status != 200,
            "accepted after the end: {:?}",
            victim.ending
        );
        *statuses.entry(heard.status).or_default() += 1;
        progress.went_well();
    }
    statuses
}
