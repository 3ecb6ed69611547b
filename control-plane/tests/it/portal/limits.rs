//! How fast the portal API may be called.

use std::time::Duration;

use keyward_contract::Limits;

use crate::plane::Plane;

fn number(answer: &crate::plane::Answer, name: &str) -> i64 {
    answer
        .header(name)
        .unwrap_or_else(|| panic!("no {name}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn an_account_key_has_a_bucket_of_its_own() {
    let plane = Plane::start_with(|config| {
        config.management_limits.portal = Limits { rate: 1, burst: 3 };
    })
    .await;
    let company = plane.company("Acme").await;
    let call = |key: &str| plane.call("GET", "/customers").key(key).send();
    for left in [2, 1, 0] {
        let answer = call(&company.live).await.expect(200);
        assert_eq!(number(&answer, "x-ratelimit-limit"), 3);
        assert_eq!(number(&answer, "x-ratelimit-remaining"), left);
        let now = plane.running.registry().clock.now().0 / 1_000;
        assert!((now..=now + 4).contains(&number(&answer, "x-ratelimit-reset")));
    }
    let refused = call(&company.live).await.expect_code(429, "RATE_LIMITED");
    assert_eq!(number(&refused, "retry-after"), 1);
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    // Whatever the path and the method.
    plane
        .call("PUT", "/customers")
        .key(&company.live)
        .send()
        .await
        .expect(429);
    // Another key of the same account isn't touched, and nobody else either.
    call(&company.test).await.expect(200);
    plane.call("GET", "/customers").send().await.expect(401);
    plane.advance(Duration::from_secs(1));
    call(&company.live).await.expect(200);
    call(&company.live).await.expect(429);
}

#[tokio::test]
async fn refusals_of_an_identified_caller_carry_the_headers_too() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (method, path, status) in [
        ("GET", "/customers?limit=0", 400),
        ("GET", "/customers/x", 404),
        ("PUT", "/customers", 405),
        ("POST", "/customers", 400),
    ] {
        let answer = plane
            .call(method, path)
            .key(&company.live)
            .send()
            .await
            .expect(status);
        assert_eq!(number(&answer, "x-ratelimit-limit"), 10_000);
        assert!(answer.header("x-ratelimit-remaining").is_some());
        assert!(answer.header("x-ratelimit-reset").is_some());
    }
}
