//! The decision table, row by row.

use keyward_contract::{AccountStatus, Contract, Environment, KeyKind, KeyState, Limits, UnixMillis};

use crate::fixture::{Keys, World, allowed};

/// Asks with these credentials and expects this status and code.
#[track_caller]
fn check(world: &World, target: &str, credentials: &[(&str, &str)], status: u16, code: &str) {
    let answer = world.get(target, credentials);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{credentials:?}"
    );
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
}

#[track_caller]
fn check_accepted(world: &World, target: &str, credentials: &[(&str, &str)]) {
    let answer = world.get(target, credentials);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn an_account_key_is_refused_by_the_first_row_that_applies() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let live = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let in_state = |keys: &mut Keys, state| keys.key(KeyKind::Account, &account, |key| key.state = state);
    let dead =
        [KeyState::Revoked, KeyState::Deleted, KeyState::Disabled].map(|state| in_state(&mut keys, state));
    let expired = keys.key(KeyKind::Account, &account, |key| {
        key.expires_at = Some(UnixMillis(1))
    });
    let of_test = keys.key(KeyKind::Account, &account, |key| {
        key.environment = Environment::Test
    });
    let elsewhere = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.0/24"])
    });
    let here = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["127.0.0.0/8"])
    });
    let status = |keys: &mut Keys, status| {
        let account = keys.account(|account| account.status = status);
        keys.key(KeyKind::Account, &account, |_| {})
    };
    let suspended = status(&mut keys, AccountStatus::Suspended);
    let cancelled = status(&mut keys, AccountStatus::Cancelled);
    let contract = |keys: &mut Keys, contract| {
        let account = keys.account(|account| account.contract = contract);
        keys.key(KeyKind::Account, &account, |_| {})
    };
    let over = contract(
        &mut keys,
        Contract {
            start: None,
            end: Some(UnixMillis(1)),
        },
    );
    let not_begun = contract(
        &mut keys,
        Contract {
            start: Some(UnixMillis(i64::MAX)),
            end: None,
        },
    );
    let unknown = Keys::new().key(KeyKind::Account, &account, |_| {});

    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\nenvironments = [\"production\"]",
    );
    let bearer = |key: &str| format!("Bearer {key}");
    let mistyped = live.text().replace('_', "-");
    check(&world, "/", &[], 401, "UNAUTHORIZED");
    check(
        &world,
        "/",
        &[("x-customer-key", customer.text())],
        401,
        "UNAUTHORIZED",
    );
    check(&world, "/", &[("x-api-key", "nonsense")], 401, "INVALID_API_KEY");
    check(&world, "/", &[("x-api-key", &mistyped)], 401, "INVALID_API_KEY");
    check(
        &world,
        "/",
        &[("x-api-key", &"x".repeat(5_000))],
        401,
        "INVALID_API_KEY",
    );
    check(
        &world,
        "/",
        &[("x-api-key", unknown.text())],
        401,
        "INVALID_API_KEY",
    );
    check(
        &world,
        "/",
        &[("x-api-key", customer.text())],
        401,
        "INVALID_API_KEY",
    );
    for key in &dead {
        check(&world, "/", &[("x-api-key", key.text())], 401, "EXPIRED_API_KEY");
    }
    check(
        &world,
        "/",
        &[("x-api-key", expired.text())],
        401,
        "EXPIRED_API_KEY",
    );
    check(
        &world,
        "/",
        &[("x-api-key", of_test.text())],
        401,
        "INVALID_API_KEY",
    );
    for key in [&suspended, &cancelled, &over, &not_begun] {
        check(
            &world,
            "/",
            &[("x-api-key", key.text())],
            403,
            "ACCOUNT_SUSPENDED",
        );
    }
    check(
        &world,
        "/",
        &[("x-api-key", elsewhere.text())],
        403,
        "IP_NOT_ALLOWED",
    );
    check_accepted(&world, "/", &[("x-api-key", here.text())]);
    check_accepted(&world, "/", &[("x-api-key", live.text())]);
    check_accepted(&world, "/", &[("authorization", &bearer(live.text()))]);
    check_accepted(
        &world,
        "/",
        &[
            ("authorization", &bearer(live.text())),
            ("x-api-key", live.text()),
        ],
    );
    check(
        &world,
        "/",
        &[
            ("authorization", &bearer(live.text())),
            ("x-api-key", here.text()),
        ],
        400,
        "INVALID_INPUT",
    );
    check(
        &world,
        "/",
        &[("x-api-key", live.text()), ("x-api-key", live.text())],
        400,
        "INVALID_INPUT",
    );
}

#[test]
fn a_customer_key_is_refused_with_one_message_for_all_reasons() {
    let mut keys = Keys::new();
    let (account, other) = (keys.account(|_| {}), keys.account(|_| {}));
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let key_of_test = keys.key(KeyKind::Account, &account, |key| {
        key.environment = Environment::Test
    });
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let foreign = keys.key(KeyKind::Customer, &other, |_| {});
    let of_test = keys.key(KeyKind::Customer, &account, |key| {
        key.environment = Environment::Test
    });
    let revoked = keys.key(KeyKind::Customer, &account, |key| key.state = KeyState::Revoked);
    let deleted = keys.key(KeyKind::Customer, &account, |key| key.state = KeyState::Deleted);
    let expired = keys.key(KeyKind::Customer, &account, |key| {
        key.expires_at = Some(UnixMillis(1))
    });
    let unknown = Keys::new().key(KeyKind::Customer, &account, |_| {});
    let world = World::start(&keys, "");

    let mut messages = Vec::new();
    let refused = [
        foreign.text(),
        of_test.text(),
        revoked.text(),
        deleted.text(),
        expired.text(),
        unknown.text(),
        "x",
        key.text(),
    ];
    for text in refused {
        let credentials = [("x-api-key", key.text()), ("x-customer-key", text)];
        check(&world, "/", &credentials, 403, "FORBIDDEN");
        messages.push(world.get("/", &credentials).json()["error"]["message"].clone());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    check(&world, "/", &[("x-api-key", key.text())], 403, "FORBIDDEN");
    check_accepted(
        &world,
        "/",
        &[("x-api-key", key.text()), ("x-customer-key", customer.text())],
    );
    // In the test environment it is optional, and checked when sent.
    check_accepted(&world, "/", &[("x-api-key", key_of_test.text())]);
    check_accepted(
        &world,
        "/",
        &[
            ("x-api-key", key_of_test.text()),
            ("x-customer-key", of_test.text()),
        ],
    );
    check(
        &world,
        "/",
        &[
            ("x-api-key", key_of_test.text()),
            ("x-customer-key", customer.text()),
        ],
        403,
        "FORBIDDEN",
    );
}

#[test]
fn a_route_says_which_credentials_it_needs() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let suspended = keys.account(|account| account.status = AccountStatus::Suspended);
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let suspended = keys.key(KeyKind::Customer, &suspended, |_| {});
    let world = World::start(
        &keys,
        r#"
        [[routes]]
        path = "/public"
        upstream = "api"
        require = "none"
        [[routes]]
        path = "/customer"
        upstream = "api"
        require = "customer-only"
        [[routes]]
        path = "=/reads"
        methods = ["GET"]
        upstream = "api"
        require = "account"
        "#,
    );
    check_accepted(&world, "/public", &[]);
    check_accepted(&world, "/public", &[("x-api-key", "whatever")]);
    check_accepted(&world, "/customer", &[("x-customer-key", customer.text())]);
    check(&world, "/customer", &[], 403, "FORBIDDEN");
    check(
        &world,
        "/customer",
        &[("x-api-key", key.text())],
        403,
        "FORBIDDEN",
    );
    check(
        &world,
        "/customer",
        &[("x-customer-key", key.text())],
        403,
        "FORBIDDEN",
    );
    check(
        &world,
        "/customer",
        &[("x-customer-key", suspended.text())],
        403,
        "ACCOUNT_SUSPENDED",
    );
    check_accepted(&world, "/reads", &[("x-api-key", key.text())]);
    check(
        &world,
        "/reads/more",
        &[("x-api-key", key.text())],
        404,
        "ROUTE_NOT_FOUND",
    );
    check(
        &world,
        "/elsewhere",
        &[("x-api-key", key.text()), ("x-api-key", key.text())],
        404,
        "ROUTE_NOT_FOUND",
    );
    let answer = world.call("POST /reads HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn the_rate_refuses_with_the_numbers_of_the_bucket_that_is_empty() {
    let mut keys = Keys::new();
    let account = keys.account(|account| account.limits = Limits { rate: 1, burst: 5 });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let small = keys.key(KeyKind::Customer, &account, |key| {
        key.customer_limits = Some(Limits { rate: 1, burst: 2 });
    });
    let large = keys.key(KeyKind::Customer, &account, |_| {});
    let world = World::start(&keys, "");
    let call = |customer: &str| world.get("/", &[("x-api-key", key.text()), ("x-customer-key", customer)]);

    let first = call(small.text());
    assert_eq!(
        (first.status, first.header("x-ratelimit-limit")),
        (200, Some("2"))
    );
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(
        first.header("ratelimit-policy"),
        Some("\"account\";q=5;w=5, \"customer\";q=2;w=2, \"quota\";q=10000000;w=31536000")
    );
    assert_eq!(call(small.text()).status, 200);
    let refused = call(small.text());
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(refused.json()["error"]["details"]["limit"], "customer");
    assert_eq!(refused.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert!(
        refused
            .header("ratelimit")
            .unwrap()
            .starts_with("\"customer\";r=0;t=")
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait));
    // The refused call charged nothing: the account has three left for the other customer, and is the tighter one now.
    let other = call(large.text());
    assert_eq!(
        (other.status, other.header("x-ratelimit-limit")),
        (200, Some("5"))
    );
    let told = other.header("ratelimit").unwrap();
    assert!(
        told.starts_with("\"account\";r=2;") || told.starts_with("\"account\";r=3;"),
        "{told}"
    );
    let accepted = 1 + (0..5).filter(|_| call(large.text()).status == 200).count();
    assert!((3..=4).contains(&accepted), "{accepted}");
    let refused = call(large.text());
    assert_eq!(refused.json()["error"]["details"]["limit"], "account");
    assert_eq!(refused.header("x-ratelimit-limit"), Some("5"));
}

#[test]
fn a_quota_lets_exactly_its_number_through_and_spares_the_test_environment() {
    let mut keys = Keys::new();
    let account = keys.account(|account| account.annual_limit = 3);
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let of_test = keys.key(KeyKind::Account, &account, |key| {
        key.environment = Environment::Test
    });
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    for _ in 0..3 {
        check_accepted(&world, "/", &[("x-api-key", key.text())]);
    }
    check(&world, "/", &[("x-api-key", key.text())], 403, "QUOTA_EXCEEDED");
    for _ in 0..5 {
        check_accepted(&world, "/", &[("x-api-key", of_test.text())]);
    }
}

#[test]
fn a_call_that_no_upstream_gets_is_503_and_gives_back_what_it_took() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits { rate: 1, burst: 2 };
        account.annual_limit = 2;
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        r#"
        [[routes]]
        path = "/"
        upstream = "api"
        require = "account"
        [[routes]]
        path = "/nobody"
        upstream = "nobody"
        require = "account"
        "#,
    );
    for _ in 0..5 {
        check(
            &world,
            "/nobody",
            &[("x-api-key", key.text())],
            503,
            "UPSTREAM_UNAVAILABLE",
        );
    }
    check_accepted(&world, "/", &[("x-api-key", key.text())]);
    check_accepted(&world, "/", &[("x-api-key", key.text())]);
}

#[test]
fn an_upstream_that_takes_too_long_is_504_and_one_that_breaks_off_is_502() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        r#"
        [[routes]]
        path = "/"
        upstream = "api"
        require = "account"
        timeout = "200ms"
        "#,
    );
    check(
        &world,
        "/delay/5000",
        &[("x-api-key", key.text())],
        504,
        "UPSTREAM_TIMEOUT",
    );
}
