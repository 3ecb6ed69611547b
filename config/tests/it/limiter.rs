//! Where the buckets are: the same words for the gateway, the control plane and both in one.

use std::path::Path;
use std::time::Duration;

use keyward_config::{
    ControlPlaneConfig, Limiter, RedisConfig, SharedLimiter, StandaloneConfig, Taking, Topology,
};
use keyward_contract::Fallback;

use crate::{gateway, parse_control_plane, parse_gateway, refused, surroundings};

fn shared(settings: &str) -> SharedLimiter {
    match gateway(&format!("[limiter]\n{settings}\n")).limiter {
        Limiter::Shared(shared) => shared,
        Limiter::Local => panic!("has local buckets: {settings}"),
    }
}

fn one_server(host: &str, port: u16) -> RedisConfig {
    RedisConfig {
        topology: Topology::Single,
        hosts: vec![(host.to_owned(), port)],
        database: 0,
        tls: false,
        username: None,
        password_file: None,
    }
}

#[test]
fn a_redis_makes_buckets_shared_and_leased() {
    let usual = SharedLimiter {
        taking: Taking::Leased,
        redis: one_server("127.0.0.1", 6379),
        fallback: Fallback::Share,
        timeout: Duration::from_millis(5),
        max_wait: Duration::from_millis(5),
    };
    assert_eq!(shared("redis = \"redis://127.0.0.1:6379\""), usual);
    assert_eq!(shared("mode = \"leased\"\nredis = \"redis://127.0.0.1\""), usual);
}

#[test]
fn without_a_redis_buckets_are_in_the_process() {
    for settings in ["", "[limiter]\n", "[limiter]\nmode = \"local\"\n"] {
        assert_eq!(gateway(settings).limiter, Limiter::Local, "{settings}");
    }
}

#[test]
fn every_setting_of_shared_buckets_can_be_said() {
    let said = shared(
        "mode = \"exact\"\nredis = \"rediss://redis.example:6380/3\"\nredis_username = \"keyward\"\n\
         redis_password_file = \"secrets/redis\"\nfallback = \"deny\"\ntimeout = \"20ms\"\nmax_wait = \"50ms\"",
    );
    let expected = SharedLimiter {
        taking: Taking::Exact,
        redis: RedisConfig {
            database: 3,
            tls: true,
            username: Some("keyward".to_owned()),
            password_file: Some("secrets/redis".into()),
            ..one_server("redis.example", 6380)
        },
        fallback: Fallback::Deny,
        timeout: Duration::from_millis(20),
        max_wait: Duration::from_millis(50),
    };
    assert_eq!(said, expected);
    assert_eq!(
        shared("redis = \"redis://a\"\nfallback = \"allow\"").fallback,
        Fallback::Allow
    );
    assert_eq!(
        shared("redis = \"redis://a\"\nmax_wait = \"0s\"").max_wait,
        Duration::ZERO
    );
}

#[test]
fn an_address_says_how_the_servers_belong_together() {
    let host = |host: &str, port: u16| (host.to_owned(), port);
    let sentinel = |service: &str| Topology::Sentinel {
        service: service.to_owned(),
    };
    for (url, topology, hosts, database, tls) in [
        (
            "redis://A.example",
            Topology::Single,
            vec![host("a.example", 6379)],
            0,
            false,
        ),
        (
            "REDIS://[::1]/",
            Topology::Single,
            vec![host("::1", 6379)],
            0,
            false,
        ),
        (
            "redis://[::1]:7000/15",
            Topology::Single,
            vec![host("::1", 7000)],
            15,
            false,
        ),
        (
            "rediss://10.0.0.1:1/0",
            Topology::Single,
            vec![host("10.0.0.1", 1)],
            0,
            true,
        ),
        (
            "redis+sentinel://a/main",
            sentinel("main"),
            vec![host("a", 26_379)],
            0,
            false,
        ),
        (
            "rediss+sentinel://a,b:1,[::1]:2/my-master.1/4",
            sentinel("my-master.1"),
            vec![host("a", 26_379), host("b", 1), host("::1", 2)],
            4,
            true,
        ),
        (
            "redis+cluster://a,b:7001",
            Topology::Cluster,
            vec![host("a", 6379), host("b", 7001)],
            0,
            false,
        ),
        (
            "rediss+cluster://a/0",
            Topology::Cluster,
            vec![host("a", 6379)],
            0,
            true,
        ),
    ] {
        let redis = shared(&format!("redis = \"{url}\"")).redis;
        assert_eq!(
            (redis.topology, redis.hosts, redis.database, redis.tls),
            (topology, hosts, database, tls),
            "{url}"
        );
    }
}

#[test]
fn an_address_of_no_redis_is_refused() {
    let example = "write one such as \"redis://127.0.0.1:6379\"";
    let others = "or one that begins with rediss://, redis+sentinel:// or redis+cluster://";
    let sentinel = "write one such as \"redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster\"";
    let several = "has several hosts; write redis+sentinel://HOST,HOST/SERVICE where sentinels watch over a server, \
                   redis+cluster://HOST,HOST for a cluster, or one host alone";
    let number = "names a database that is no number from 0; write /0, or nothing";
    for (url, expected) in [
        ("127.0.0.1:6379", format!("is no address; {example}")),
        ("", format!("is no address; {example}")),
        (
            "http://127.0.0.1",
            format!("is no address of a Redis; {example}, {others}"),
        ),
        (
            "redis+sentinels://a/b",
            format!("is no address of a Redis; {example}, {others}"),
        ),
        ("redis://", format!("has no valid host at place 1; {example}")),
        (
            "redis://a:0",
            format!("has no port from 1 to 65535 at place 1; {example}"),
        ),
        (
            "redis://a:70000",
            format!("has no port from 1 to 65535 at place 1; {example}"),
        ),
        (
            "redis+cluster://a,",
            format!("has no valid host at place 2; {example}"),
        ),
        (
            "redis+cluster://a,a b",
            format!("has no valid host at place 2; {example}"),
        ),
        (
            "redis+cluster://a,b,A:6379",
            "has the host at place 3 twice; remove one".to_owned(),
        ),
        ("redis://a,b", several.to_owned()),
        ("redis://a/x", number.to_owned()),
        ("redis://a/-1", number.to_owned()),
        ("redis://a/+1", number.to_owned()),
        ("redis://a/0/1", number.to_owned()),
        ("redis://a/99999999999", number.to_owned()),
        (
            "redis://a?db=1",
            format!("has more than hosts and a database in it; {example}"),
        ),
        (
            "redis://a#1",
            format!("has more than hosts and a database in it; {example}"),
        ),
        (
            "redis+cluster://a/1",
            "names a database, and a cluster has only the first; remove it".to_owned(),
        ),
        (
            "redis+sentinel://a",
            format!("doesn't say what the sentinels call the service; {sentinel}"),
        ),
        (
            "redis+sentinel://a//1",
            format!("doesn't say what the sentinels call the service; {sentinel}"),
        ),
        (
            "redis+sentinel://a/my master",
            format!(
                "names a service with more than letters, digits, dots, hyphens and underscores; {sentinel}"
            ),
        ),
        ("redis+sentinel://a/main/x", number.to_owned()),
    ] {
        let settings = format!("[limiter]\nredis = \"{url}\"");
        refused(&settings, &[&format!("2: limiter.redis: {expected}")]);
    }
}

#[test]
fn a_redis_password_never_stands_in_an_address() {
    let expected = "2: limiter.redis: has a user name or password in it; write the name as redis_username, and the \
                    password into a file of its own that redis_password_file names";
    for url in [
        "redis://:hunter2@127.0.0.1",
        "rediss://keyward:hunter2@127.0.0.1:6379/0",
        "redis://keyward@127.0.0.1",
        "redis+sentinel://:hunter2@a,b/main",
        "redis+cluster://a,:hunter2@b",
        "redis://:hunter2/x@127.0.0.1",
    ] {
        refused(&format!("[limiter]\nredis = \"{url}\""), &[expected]);
    }
    // The environment is no better place: addresses are shown.
    let variable = ("KEYWARD__LIMITER__REDIS", "redis://:hunter2@127.0.0.1");
    for message in [
        parse_gateway(crate::LEAST, &[variable]).unwrap_err(),
        parse_control_plane("", &[variable]).unwrap_err(),
    ] {
        assert!(message.contains("redis_password_file"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn settings_of_redis_are_wrong_where_none_is_asked() {
    for (key, value) in [
        ("redis_username", "\"a\""),
        ("redis_password_file", "\"a\""),
        ("fallback", "\"share\""),
        ("timeout", "\"5ms\""),
        ("max_wait", "\"5ms\""),
    ] {
        let absent = format!(
            "2: limiter.{key}: is for buckets in Redis, and there is no limiter.redis; write it too, or remove this"
        );
        refused(&format!("[limiter]\n{key} = {value}"), &[&absent]);
        let local = format!(
            "3: limiter.{key}: is for buckets in Redis, and mode = \"local\" has them in this process; remove this, or the mode"
        );
        refused(
            &format!("[limiter]\nmode = \"local\"\n{key} = {value}"),
            &[&local],
        );
    }
    refused(
        "[limiter]\nmode = \"local\"\nredis = \"redis://a\"",
        &[
            "3: limiter.redis: is for buckets in Redis, and mode = \"local\" has them in this process; remove this, or the mode",
        ],
    );
}

#[test]
fn shared_buckets_need_a_redis() {
    for mode in ["leased", "exact"] {
        refused(
            &format!("[limiter]\nmode = \"{mode}\"\nfallback = \"deny\""),
            &[
                "1: limiter.redis: is missing, and buckets that gateways share are there; write one such as \
                 \"redis://127.0.0.1:6379\", or mode = \"local\"",
            ],
        );
    }
}

#[test]
fn waiting_has_bounds() {
    for (settings, expected) in [
        (
            "timeout = \"0s\"",
            "timeout: 0s is too little; write at least 1ms",
        ),
        ("timeout = \"2s\"", "timeout: 2s is too much; write at most 1s"),
        ("max_wait = \"2s\"", "max_wait: 2s is too much; write at most 1s"),
        (
            "timeout = 5",
            "timeout: 5 has no unit; write a number and ms, s, m, h or d, such as \"5s\"",
        ),
        (
            "max_wait = \"0s\"\nmode = \"exact\"",
            "max_wait: is nothing, and mode = \"exact\" asks Redis for every call; write at least 1ms",
        ),
        (
            "fallback = \"open\"",
            "fallback: \"open\" is not known here; write \"share\", \"allow\" or \"deny\"",
        ),
        (
            "redis_username = \"a b\"",
            "redis_username: can't be a user of Redis; write 1 to 128 visible ASCII characters, such as \"keyward\"",
        ),
        (
            "redis_pasword_file = \"a\"",
            "redis_pasword_file: is no known key; did you mean \"redis_password_file\"?",
        ),
    ] {
        let settings = format!("[limiter]\nredis = \"redis://a\"\n{settings}");
        refused(&settings, &[&format!("3: limiter.{expected}")]);
    }
}

#[test]
fn one_mistake_in_the_address_is_told_once() {
    let wrong = "is no address; write one such as \"redis://127.0.0.1:6379\"";
    for more in [
        "",
        "mode = \"exact\"\n",
        "fallback = \"deny\"\ntimeout = \"5ms\"\n",
    ] {
        let settings = format!("[limiter]\nredis = \"there\"\n{more}");
        refused(&settings, &[&format!("2: limiter.redis: {wrong}")]);
    }
}

#[test]
fn a_control_plane_looks_into_the_same_redis() {
    let redis = |text: &str| parse_control_plane(text, &[]).map(|config: ControlPlaneConfig| config.redis);
    assert_eq!(redis(""), Ok(None));
    assert_eq!(
        redis("[limiter]\nredis = \"redis://a\"\nredis_username = \"reader\"\nredis_password_file = \"p\"\n"),
        Ok(Some(RedisConfig {
            username: Some("reader".to_owned()),
            password_file: Some("p".into()),
            ..one_server("a", 6379)
        }))
    );
    for (settings, expected) in [
        (
            "redis_username = \"reader\"",
            "redis_username: is for buckets in Redis, and there is no limiter.redis; write it too, or remove this",
        ),
        (
            "redis_password_file = \"p\"",
            "redis_password_file: is for buckets in Redis, and there is no limiter.redis; write it too, or remove this",
        ),
        (
            "mode = \"local\"",
            "mode: is no known key; in limiter there can be redis, redis_username, redis_password_file",
        ),
    ] {
        let message = redis(&format!("[limiter]\n{settings}\n")).unwrap_err();
        assert_eq!(message, format!("control-plane.toml:2: limiter.{expected}"));
    }
}

#[test]
fn both_halves_of_a_standalone_have_the_same_redis() {
    let parse = |text: &str| {
        StandaloneConfig::from_toml(text, "standalone.toml", Path::new("data"), &surroundings(&[]))
            .map_err(|error| error.to_string())
    };
    let config =
        parse("[limiter]\nredis = \"redis://a/2\"\nredis_username = \"u\"\nredis_password_file = \"p\"\n");
    let config = config.unwrap();
    let Limiter::Shared(shared) = config.gateway.limiter else {
        panic!("has local buckets");
    };
    assert_eq!(shared.redis.database, 2);
    assert_eq!(config.control_plane.redis, Some(shared.redis));

    let plain = parse("").unwrap();
    assert_eq!(
        (plain.gateway.limiter, plain.control_plane.redis),
        (Limiter::Local, None)
    );
    // What is wrong is told once.
    let message = parse("[limiter]\nredis_username = \"u\"\n").unwrap_err();
    assert_eq!(
        message,
        "standalone.toml:2: limiter.redis_username: is for buckets in Redis, and there is no limiter.redis; write it too, or remove this"
    );
    let message = parse("[limiter]\nmode = \"local\"\nredis = \"redis://a\"\n").unwrap_err();
    assert_eq!(message.lines().count(), 1, "{message}");
}
