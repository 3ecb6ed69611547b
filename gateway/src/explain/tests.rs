use keyward_contract::UnixMillis;

use super::*;

fn now(seconds: u64) -> Now {
    Now {
        monotonic: Duration::from_secs(seconds),
        unix: UnixMillis(1_768_819_200_000),
    }
}

fn refusal(id: &str, at: u64, caller: Option<Who>) -> Refusal {
    Refusal {
        id: ArrayString::from(id).unwrap(),
        at: now(at),
        status: 429,
        code: "RATE_LIMITED",
        message: "too many calls",
        method: shortened("GET"),
        client: IpAddr::from([192, 0, 2, 7]),
        endpoint: None,
        route: Some(Taken {
            name: "/v1".into(),
            require: Require::Account,
            cost: 2,
        }),
        upstream: None,
        was_accepted: false,
        check: Some(Check::Rate),
        sources: [Some(http::header::AUTHORIZATION), None],
        caller,
        revision: 17,
        levels: None,
        limit: None,
    }
}

fn known() -> Option<Who> {
    Some(Who {
        account: AccountId::new(),
        environment: Environment::Test,
        key: Some(KeyId::new()),
        customer_key: None,
        customer: None,
    })
}

fn found(explanations: &Explanations, id: &str, at: u64) -> usize {
    let told = explanations.about(id, now(at));
    told.map_or(0, |told| told["refusals"].as_array().unwrap().len())
}

#[test]
fn a_refusal_can_be_looked_up_for_an_hour_whichever_worker_had_it() {
    let explanations = Explanations::default();
    let rings = [explanations.ring(), explanations.ring()];
    rings[1].keep(refusal("r-1", 10, None));
    assert_eq!(found(&explanations, "r-1", 10 + 3_599), 1);
    assert_eq!(found(&explanations, "r-1", 10 + 3_600), 0);
    assert_eq!(found(&explanations, "r-2", 10), 0);
}

#[test]
fn of_an_id_that_was_used_again_everything_is_shown_the_latest_first() {
    let explanations = Explanations::default();
    let rings = [explanations.ring(), explanations.ring()];
    for (at, ring) in [(1, 0), (3, 1), (2, 0)] {
        rings[ring].keep(Refusal {
            revision: at,
            ..refusal("r-1", at, known())
        });
    }
    let told = explanations.about("r-1", now(4)).unwrap();
    let refusals = told["refusals"].as_array().unwrap().iter();
    let revisions: Vec<_> = refusals.map(|one| one["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [3, 2, 1]);
}

#[test]
fn a_flood_of_unknown_callers_takes_bounded_memory_and_pushes_no_known_one_out() {
    let explanations = Explanations::default();
    let ring = explanations.ring();
    ring.keep(refusal("known", 0, known()));
    for number in 0..10_000 {
        ring.keep(refusal(&format!("r-{number}"), 1, None));
    }
    let held = ring.held.lock();
    assert_eq!((held.of_known.len(), held.of_unknown.len()), (1, OF_UNKNOWN));
    drop(held);
    assert_eq!(found(&explanations, "known", 2), 1);
    assert_eq!(found(&explanations, "r-0", 2), 0);
    assert_eq!(found(&explanations, "r-9999", 2), 1);
    assert!(size_of::<Refusal>() <= 640, "{}", size_of::<Refusal>());
}

#[test]
fn every_check_before_the_one_that_refused_has_passed_and_none_after_it_was_reached() {
    let told = page::of(&refusal("r-1", 0, None));
    let steps = told["steps"].as_array().unwrap();
    let outcome_of = |step: &str| {
        let outcomes = steps.iter().filter(|told| told["step"] == step);
        outcomes
            .map(|told| told["outcome"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(outcome_of("route"), ["passed"]);
    assert_eq!(outcome_of("limit"), ["passed", "refused"]);
    assert_eq!(outcome_of("forward"), ["not reached"; 3]);
}

#[test]
fn an_id_that_can_be_none_is_told_from_one_that_is_not_held() {
    let message = |id: &str| not_held(id)["message"].as_str().unwrap().to_owned();
    assert!(message("r-1").starts_with("no refusal with this id is held here"));
    for id in ["", "a b", "a/b", &"x".repeat(129)] {
        assert!(message(id).starts_with("this can't be the id"), "{id}");
    }
}
