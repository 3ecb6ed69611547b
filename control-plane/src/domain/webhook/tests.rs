use super::*;

#[track_caller]
fn check(url: &str, expected: Result<&str, &str>) {
    let read = Endpoint::parse("url", url);
    let read = read.as_ref().map(|endpoint| endpoint.url().as_str());
    assert_eq!(read.map_err(|error| error.reason.as_ref()), expected, "{url}");
}

#[test]
fn messages_go_to_https_or_to_this_machine() {
    check(
        "https://hooks.example.com/in?a=1",
        Ok("https://hooks.example.com/in?a=1"),
    );
    check("http://127.0.0.1:8000/", Ok("http://127.0.0.1:8000/"));
    check("http://127.1/", Ok("http://127.0.0.1/"));
    check("http://[::1]:1/x", Ok("http://[::1]:1/x"));
    check("http://localhost/x", Ok("http://localhost/x"));
    let http = Err("must be https; http is for this machine alone");
    check("http://hooks.example.com/", http);
    check("http://localhost.example.com/", http);
    check("http://10.0.0.1/", http);
    check("ftp://127.0.0.1/", http);
    check("file:///etc/passwd", http);
    check("mailto:a@b.co", http);
    let credentials = Err("must not have a user name or password in it");
    check("https://user@example.com/", credentials);
    check("https://:secret@example.com/", credentials);
    check("https://example.com/#x", Err("must not have a fragment"));
    check("/in", Err("must be an absolute URL"));
    check("", Err("must be an absolute URL"));
    let spaces = Err("must be an absolute URL without white space");
    check(" https://example.com/", spaces);
    check("https://example.com/\n", spaces);
    let long = format!("https://example.com/{}", "x".repeat(MAX_URL));
    check(&long, Err("must have at most 2048 characters"));
}

#[test]
fn pauses_double_up_to_an_hour_and_never_meet() {
    assert_eq!((pause_ms(1, 0), pause_ms(1, u16::MAX)), (4_000, 6_000));
    assert_eq!((pause_ms(2, 0), pause_ms(2, u16::MAX)), (8_000, 12_000));
    assert_eq!((pause_ms(99, 0), pause_ms(99, u16::MAX)), (2_880_000, 4_320_000));
    assert_eq!(pause_ms(i64::MIN, 0), 4_000);
}

/// The example of the Standard Webhooks' own libraries.
#[test]
fn a_message_is_signed_as_standard_webhooks_says() {
    let secret = Secret::from_bytes(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
    assert_eq!(secret.expose(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let signed = secret.sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b"{\"test\": 2432232314}",
    );
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(format!("{secret:?}"), "Secret(…)");
}

#[test]
fn a_subscription_reads_back_and_has_what_it_names() {
    let some = Subscription::parse("events", &["quota.80", "key.revoked", "quota.80"]).unwrap();
    assert_eq!(some.names(), ["quota.80", "key.revoked"]);
    assert!(some.has(EventKind::KeyRevoked) && !some.has(EventKind::KeyCreated));
    let all = Subscription::parse("events", &["*"]).unwrap();
    assert!(EventKind::ALL.into_iter().all(|kind| all.has(kind)));
    assert_eq!(all.names(), ["*"]);
    for bad in [&[][..], &["key.*"], &["*", "key.created"], &["webhook.test"]] {
        assert!(Subscription::parse("events", bad).is_err(), "{bad:?}");
    }
}
