//! One server.

use keyward_buckets::{
    Answer, Ask, BucketState, BucketsError, ChargeAnswer, ChargeAsk, Known, LeaseAsk, QuotaSpent, Rebuild,
    RefundAsk,
};
use keyward_contract::{AccountId, CustomerId, Limits};
use keyward_harness::{RedisServer, eventually};

use crate::{SOON, ask_lease, ask_quota, bucket, config, gateway, lease, quota};

fn customer() -> CustomerId {
    "clx8f2k9h0001qr5tgvwxyz12".parse().unwrap()
}

#[tokio::test]
async fn gateways_share_a_bucket_and_no_token_is_granted_twice() {
    let redis = RedisServer::start().await.unwrap();
    let one = gateway(&redis.url(), "one").connect().await.unwrap();
    let two = gateway(&redis.url(), "two").connect().await.unwrap();
    let account = AccountId::new();
    let first = ask_lease(&one, lease(account, 70)).await;
    assert_eq!((first.granted, first.held_elsewhere), (70_000, 0));
    let second = ask_lease(&two, lease(account, 70)).await;
    assert_eq!((second.granted, second.held_elsewhere), (30_000, 70_000));
    assert_eq!(second.born, first.born);
    assert!(first.born > 1_700_000_000_000_000, "{first:?}");
    let none = ask_lease(
        &two,
        LeaseAsk {
            holding: 30_000,
            ..lease(account, 1)
        },
    )
    .await;
    assert_eq!(none.granted, 0);
}

#[tokio::test]
async fn what_is_handed_back_can_be_granted_to_others() {
    let redis = RedisServer::start().await.unwrap();
    let one = gateway(&redis.url(), "one").connect().await.unwrap();
    let two = gateway(&redis.url(), "two").connect().await.unwrap();
    let account = AccountId::new();
    ask_lease(&one, lease(account, 100)).await;
    // 20 were spent, 50 are kept.
    let back = LeaseAsk {
        holding: 50_000,
        returning: 30_000,
        ..lease(account, 0)
    };
    ask_lease(&one, back.clone()).await;
    let granted = ask_lease(&two, lease(account, 100)).await;
    assert_eq!((granted.granted, granted.held_elsewhere), (30_000, 50_000));
    // It holds no more than 50, so nothing is left to hand back.
    ask_lease(&one, back).await;
    assert_eq!(
        ask_lease(
            &two,
            LeaseAsk {
                holding: 30_000,
                ..lease(account, 100)
            }
        )
        .await
        .granted,
        0
    );
}

#[tokio::test]
async fn what_a_dead_gateway_held_is_lost_and_the_bucket_fills_again() {
    let redis = RedisServer::start().await.unwrap();
    let dead = gateway(&redis.url(), "dead").connect().await.unwrap();
    let alive = gateway(&redis.url(), "alive").connect().await.unwrap();
    let account = AccountId::new();
    let fast = |most: u64| LeaseAsk {
        limits: Limits {
            rate: 100,
            burst: 100,
        },
        ..lease(account, most)
    };
    ask_lease(&dead, fast(100)).await;
    // As long as it is held, nothing grows in its place.
    let held = ask_lease(&alive, fast(0)).await;
    assert_eq!((held.level, held.held_elsewhere), (0, 100_000));
    let filled = eventually(SOON, || async {
        let answer = ask_lease(&alive, fast(0)).await;
        anyhow::ensure!(
            answer.level == 100_000 && answer.held_elsewhere == 0,
            "{answer:?}"
        );
        Ok(())
    });
    filled.await.unwrap();
}

#[tokio::test]
async fn a_full_bucket_that_nobody_holds_anything_of_vanishes() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    let fast = LeaseAsk {
        limits: Limits {
            rate: 100,
            burst: 100,
        },
        ..lease(account, 10)
    };
    ask_lease(&link, fast).await;
    let key = bucket(account).key();
    let left: i64 = redis.command(&["PTTL", &key]).unwrap().parse().unwrap();
    // A second for the lease, 100 ms to fill, and a second more.
    assert!((1..=2100).contains(&left), "{left}");
    let gone = eventually(SOON, || async {
        let keys = redis.command(&["DBSIZE"])?;
        anyhow::ensure!(keys == "0", "{keys}");
        Ok(())
    });
    gone.await.unwrap();
}

fn charge(account: AccountId, cost: u64, spent: QuotaSpent) -> ChargeAsk {
    let account_lease = LeaseAsk {
        least: cost * 1000,
        ..lease(account, cost)
    };
    let mut customer_lease = account_lease.clone();
    customer_lease.bucket.customer = Some(customer());
    customer_lease.limits = Limits { rate: 1, burst: 5 };
    let mut quota = quota(account, 1000, spent);
    (quota.least, quota.most) = (1, 1);
    ChargeAsk {
        account: account_lease,
        customer: Some(customer_lease),
        quota: Some(quota),
    }
}

async fn ask_charge(link: &keyward_buckets::Link, ask: ChargeAsk) -> ChargeAnswer {
    match link.ask(&[Ask::Charge(ask)]).await.unwrap()[..] {
        [Answer::Charge(answer)] => answer,
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_is_charged_to_all_of_its_limits_or_to_none() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    let ready = eventually(SOON, || async {
        let answer = ask_charge(&link, charge(account, 3, QuotaSpent::Since(0))).await;
        anyhow::ensure!(answer.charged, "{answer:?}");
        Ok(answer)
    });
    // Refused while the quota is made anew, and not charged to the buckets either.
    let first = ready.await.unwrap();
    assert!(first.account.level >= 97_000, "{first:?}");
    assert_eq!(first.quota.unwrap().taken, 1);
    let second = ask_charge(&link, charge(account, 3, QuotaSpent::Since(0))).await;
    assert!(!second.charged, "the end customer has 2 left: {second:?}");
    assert!(
        second.account.level >= 97_000 && second.quota.unwrap().taken == 1,
        "{second:?}"
    );
    let third = ask_charge(&link, charge(account, 2, QuotaSpent::Since(0))).await;
    assert!(third.charged && third.quota.unwrap().taken == 2, "{third:?}");
}

#[tokio::test]
async fn a_refund_gives_back_to_all_buckets() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    let ask = ChargeAsk {
        quota: None,
        ..charge(account, 4, QuotaSpent::Since(0))
    };
    assert!(ask_charge(&link, ask.clone()).await.charged);
    assert!(!ask_charge(&link, ask.clone()).await.charged);
    let refund = RefundAsk {
        buckets: std::iter::once(&ask.account)
            .chain(&ask.customer)
            .map(|lease| (lease.bucket, lease.limits))
            .collect(),
        thousandths: 4000,
    };
    let answers = link.ask(&[Ask::Refund(refund), Ask::Charge(ask)]).await.unwrap();
    assert!(
        matches!(
            answers[..],
            [
                Answer::Refunded,
                Answer::Charge(ChargeAnswer { charged: true, .. })
            ]
        ),
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_quota_never_grants_more_than_its_limit() {
    let redis = RedisServer::start().await.unwrap();
    let one = gateway(&redis.url(), "one").connect().await.unwrap();
    let two = gateway(&redis.url(), "two").connect().await.unwrap();
    let account = AccountId::new();
    let rebuild = Rebuild {
        others: 900,
        gateways: vec![("two".to_owned(), 60), ("three".to_owned(), 5)],
    };
    let (mut taken_one, mut taken_two) = (0, 60);
    let first = quota(account, 1000, QuotaSpent::InAll(0));
    let first = ask_quota(&one, keyward_buckets::QuotaAsk { rebuild, ..first }).await;
    assert_eq!((first.granted, first.taken, first.rebuilding), (0, 965, true));
    let ready = eventually(SOON, || async {
        let answer = ask_quota(&one, quota(account, 1000, QuotaSpent::InAll(0))).await;
        anyhow::ensure!(!answer.rebuilding, "{answer:?}");
        Ok(answer)
    });
    taken_one += ready.await.unwrap().granted;
    loop {
        let grant_one = ask_quota(&one, quota(account, 1000, QuotaSpent::InAll(taken_one))).await;
        taken_one += grant_one.granted;
        let grant_two = ask_quota(&two, quota(account, 1000, QuotaSpent::InAll(taken_two))).await;
        taken_two += grant_two.granted;
        assert_eq!(grant_two.taken, 905 + taken_one + taken_two);
        if grant_one.granted + grant_two.granted == 0 {
            break;
        }
    }
    assert_eq!(taken_one + taken_two, 95);
    let key = quota(account, 0, QuotaSpent::InAll(0)).quota.key();
    let kept: i64 = redis.command(&["PEXPIRETIME", &key]).unwrap().parse().unwrap();
    assert_eq!(kept, 4_102_444_800_000 + 7 * 86_400_000);
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_told_it_again() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    assert_eq!(ask_lease(&link, lease(account, 60)).await.granted, 60_000);
    redis.command(&["SCRIPT", "FLUSH"]).unwrap();
    let kept = LeaseAsk {
        holding: 60_000,
        ..lease(account, 60)
    };
    assert_eq!(ask_lease(&link, kept).await.granted, 40_000);
}

#[tokio::test]
async fn a_flushed_bucket_begins_with_no_more_than_gateways_know() {
    let redis = RedisServer::start().await.unwrap();
    let one = gateway(&redis.url(), "one").connect().await.unwrap();
    let two = gateway(&redis.url(), "two").connect().await.unwrap();
    let account = AccountId::new();
    let first = ask_lease(&one, lease(account, 40)).await;
    let second = ask_lease(&two, lease(account, 50)).await;
    redis.command(&["FLUSHALL"]).unwrap();
    let knowing = |holding, level, most| LeaseAsk {
        holding,
        known: Some(Known {
            born: first.born,
            level,
        }),
        ..lease(account, most)
    };
    // The first one heard of its bucket before the second one took its part.
    let anew = ask_lease(&one, knowing(40_000, 60_000, 0)).await;
    assert_ne!(anew.born, first.born);
    assert_eq!(anew.level, 60_000);
    let anew = ask_lease(&two, knowing(50_000, second.level, 100)).await;
    assert_eq!((anew.granted, anew.held_elsewhere), (10_000, 40_000));
}

#[tokio::test]
async fn a_control_plane_sees_what_is_in_a_bucket_and_changes_nothing() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    let slow = Limits { rate: 1, burst: 100 };
    ask_lease(&link, lease(account, 30)).await;
    let key = bucket(account).key();
    let before = redis.command(&["HGETALL", &key]).unwrap();
    let reader = gateway(&redis.url(), "reader").connect().await.unwrap();
    let seen = reader
        .read(&[(bucket(account), slow), (bucket(AccountId::new()), slow)])
        .await
        .unwrap();
    let [Some(BucketState { level, held: 30_000 }), None] = seen[..] else {
        panic!("{seen:?}");
    };
    assert!((70_000..80_000).contains(&level), "{level}");
    assert_eq!(redis.command(&["HGETALL", &key]).unwrap(), before);
}

#[tokio::test]
async fn somebody_elses_key_under_a_buckets_name_is_trouble_for_that_bucket_only() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let accounts = [AccountId::new(), AccountId::new(), AccountId::new()];
    redis.command(&["SET", &bucket(accounts[1]).key(), "x"]).unwrap();
    let asks = accounts.map(|account| Ask::Lease(lease(account, 1)));
    let answers = link.ask_each(&asks).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(*error, BucketsError::Refused("WRONGTYPE".to_owned()));
    assert!(error.nothing_happened() && !error.is_connection_lost());
}

#[tokio::test]
async fn a_garbled_field_is_as_good_as_a_missing_one() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    let key = bucket(account).key();
    for (field, garbage) in [
        ("m", "nan"),
        ("t", "1e400"),
        ("h", "x"),
        ("g:two", "7"),
        ("s", "0.5"),
    ] {
        redis.command(&["HSET", &key, field, garbage]).unwrap();
    }
    let answer = ask_lease(&link, lease(account, 100)).await;
    assert_eq!((answer.granted, answer.held_elsewhere), (100_000, 0));
}

#[tokio::test]
async fn many_questions_are_answered_in_their_order() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let asks: Vec<Ask> = (1..=100)
        .cycle()
        .take(350)
        .map(|most| Ask::Lease(lease(AccountId::new(), most)))
        .collect();
    let answers = link.ask(&asks).await.unwrap();
    for (answer, most) in answers.iter().zip((1..=100).cycle()) {
        assert!(
            matches!(answer, Answer::Lease(lease) if lease.granted == most * 1000),
            "{answer:?}"
        );
    }
    assert_eq!(answers.len(), 350);
}

#[tokio::test]
async fn a_killed_server_is_a_lost_connection_and_a_new_one_works() {
    let mut redis = RedisServer::start().await.unwrap();
    let buckets = gateway(&redis.url(), "one");
    let link = buckets.connect().await.unwrap();
    link.ping().await.unwrap();
    redis.kill();
    let error = link
        .ask(&[Ask::Lease(lease(AccountId::new(), 1))])
        .await
        .unwrap_err();
    assert!(error.is_connection_lost(), "{error:?}");
    let error = buckets.connect().await.unwrap_err();
    assert!(
        error.is_connection_lost() && error.nothing_happened(),
        "{error:?}"
    );
    redis.start_again().await.unwrap();
    buckets.connect().await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_no_place_to_ask() {
    let redis = RedisServer::start().await.unwrap();
    let other = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    ask_lease(&link, lease(AccountId::new(), 1)).await;
    redis
        .command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()])
        .unwrap();
    let refused = eventually(SOON, || async {
        let asked = link.ask(&[Ask::Lease(lease(AccountId::new(), 1))]).await;
        asked.err().ok_or_else(|| anyhow::anyhow!("still answered"))
    });
    let error = refused.await.unwrap();
    assert!(
        error.is_connection_lost() && error.nothing_happened(),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_waits_on_an_earlier_link_is_never_done_after_what_a_later_one_asks() {
    let redis = RedisServer::start().await.unwrap();
    let buckets = gateway(&redis.url(), "one");
    let earlier = buckets.connect().await.unwrap();
    let later = buckets.connect().await.unwrap();
    let error = earlier
        .ask(&[Ask::Lease(lease(AccountId::new(), 1))])
        .await
        .unwrap_err();
    assert!(error.is_connection_lost(), "{error:?}");
    ask_lease(&later, lease(AccountId::new(), 1)).await;
    // Another gateway's link is its own.
    let other = gateway(&redis.url(), "two").connect().await.unwrap();
    other.ping().await.unwrap();
    later.ping().await.unwrap();
}

#[tokio::test]
async fn the_password_is_read_at_every_connection_and_never_told() {
    let port = keyward_harness::free_port().unwrap();
    let redis = RedisServer::start_on(port, &["--requirepass", "first-secret"])
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let mut config = config(&redis.url());
    config.password_file = Some(file.clone());
    let buckets = keyward_buckets::Buckets::new(config, "one".to_owned());
    let error = buckets.connect().await.unwrap_err();
    assert!(matches!(error, BucketsError::Password { .. }), "{error:?}");
    std::fs::write(&file, "wrong-secret\n").unwrap();
    let error = buckets.connect().await.unwrap_err();
    let told = format!("{error} {error:?} {buckets:?}");
    assert!(error.is_connection_lost() && !told.contains("secret"), "{told}");
    std::fs::write(&file, "first-secret\n").unwrap();
    let link = buckets.connect().await.unwrap();
    link.ping().await.unwrap();
    assert!(!format!("{link:?} {buckets:?}").contains("secret"));
}

#[tokio::test]
async fn a_server_out_of_memory_refuses_and_the_link_stays() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    ask_lease(&link, lease(account, 1)).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let before = redis.command(&["HGETALL", &bucket(account).key()]).unwrap();
    let error = link.ask(&[Ask::Lease(lease(account, 1))]).await.unwrap_err();
    assert!(
        !error.is_connection_lost() && error.nothing_happened(),
        "{error:?}"
    );
    assert_eq!(
        redis.command(&["HGETALL", &bucket(account).key()]).unwrap(),
        before
    );
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    ask_lease(&link, lease(account, 1)).await;
}

#[tokio::test]
async fn an_answer_that_comes_late_is_still_an_answer() {
    let redis = RedisServer::start().await.unwrap();
    let link = gateway(&redis.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    redis.pause().unwrap();
    let waiting = tokio::spawn({
        let link = link.clone();
        async move { ask_lease(&link, lease(account, 30)).await }
    });
    // Nobody waits for this one any more, and what comes after it has its own answer.
    let asks = [Ask::Lease(lease(AccountId::new(), 50))];
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(50), link.ask(&asks));
    assert!(given_up.await.is_err());
    redis.resume().unwrap();
    assert_eq!(waiting.await.unwrap().granted, 30_000);
    assert_eq!(
        ask_lease(&link, lease(AccountId::new(), 20)).await.granted,
        20_000
    );
}

#[tokio::test]
async fn connecting_to_a_frozen_server_takes_no_longer_than_it_may() {
    let redis = RedisServer::start().await.unwrap();
    redis.pause().unwrap();
    let buckets = gateway(&redis.url(), "one");
    let connecting = tokio::time::timeout(SOON, buckets.connect());
    let error = connecting.await.unwrap().unwrap_err();
    assert!(
        error.is_connection_lost() && error.nothing_happened(),
        "{error:?}"
    );
    redis.resume().unwrap();
    buckets.connect().await.unwrap().ping().await.unwrap();
}
