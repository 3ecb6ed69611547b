//! A configuration that changes while calls go on: all of it is taken or nothing, and no connection notices.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;

use keyward_contract::KeyKind;
use keyward_gateway::reload::{ConfigFile, Outcome, ReloadError};
use tokio_tungstenite::tungstenite::Message;

use crate::accounting::counted;
use crate::cut::{eventually, metric};
use crate::fixture::{Answer, Key, Keys, World, get, read_answer};
use crate::scripted::{Machine, answer};
use crate::upgrades::{Echo, configuration, connect, says};

/// Routes of these paths, each named after its path, to the sample upstream.
fn routes(paths: &[&str]) -> String {
    let route = |path: &&str| {
        format!(
            "[[routes]]\nname = \"{path}\"\npath = \"{path}\"\nupstream = \"api\"\nrequire = \"account\"\n"
        )
    };
    paths.iter().map(route).collect()
}

fn world(more: &str) -> (World, Key) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    (World::start(&keys, more), key)
}

impl World {
    /// Takes another configuration in, which differs as `more` does.
    pub(crate) fn reload(&self, more: &str) -> Result<(), ReloadError> {
        let shared = self.gateway.as_ref().unwrap().shared();
        shared.take(self.configuration(more))
    }
}

fn ask(stream: &mut TcpStream, target: &str, key: &Key) {
    let request = get(target, &[("x-api-key", key.text())]);
    stream.write_all(request.as_bytes()).unwrap();
}

fn call(stream: &mut TcpStream, target: &str, key: &Key) -> Answer {
    ask(stream, target, key);
    read_answer(stream)
}

#[test]
fn a_call_ends_by_the_rules_it_began_with_and_the_next_on_its_connection_sees_the_new_ones() {
    let (world, key) = world(&routes(&["/delay", "/echo"]));
    let (mut slow, mut idle) = (world.connect(), world.connect());
    assert_eq!(call(&mut idle, "/echo", &key).status, 200);
    let before = world.upstream_calls();
    ask(&mut slow, "/delay/700", &key);
    eventually("the upstream has the call", || world.upstream_calls() > before);
    world.reload(&routes(&["/echo", "/new"])).unwrap();
    assert_eq!(call(&mut idle, "/new", &key).status, 200);
    assert_eq!(call(&mut idle, "/delay/1", &key).status, 404);
    assert_eq!(read_answer(&mut slow).status, 200);
    assert_eq!(call(&mut slow, "/delay/1", &key).status, 404);
    assert_eq!(call(&mut slow, "/echo", &key).status, 200);
}

#[test]
fn limits_and_settings_of_a_route_change_with_a_reload_on_open_connections() {
    let (world, key) = world(&routes(&["/echo"]));
    let mut open = world.connect();
    assert_eq!(call(&mut open, "/echo", &key).status, 200);
    world
        .reload(&format!("{}cost = 150\n", routes(&["/echo"])))
        .unwrap();
    assert_eq!(call(&mut open, "/echo", &key).status, 200);
    // A burst of 200 holds one of them.
    assert_eq!(call(&mut open, "/echo", &key).status, 429);
    let test_alone = format!("{}environments = [\"test\"]\n", routes(&["/echo"]));
    world.reload(&test_alone).unwrap();
    assert_eq!(call(&mut open, "/echo", &key).code(), "INVALID_API_KEY");
    let renamed = format!("{}[credentials]\naccount = [\"x-other\"]\n", routes(&["/echo"]));
    world.reload(&renamed).unwrap();
    assert_eq!(call(&mut open, "/echo", &key).code(), "UNAUTHORIZED");
    let shorter = format!("{}[bounds]\nuri = \"1KiB\"\n", routes(&["/echo"]));
    world.reload(&shorter).unwrap();
    assert_eq!(
        call(&mut open, &format!("/echo/{}", "x".repeat(1_100)), &key).status,
        414
    );
}

#[test]
fn peers_are_trusted_by_the_newest_rules_on_open_connections_too() {
    let (world, key) = world(&routes(&["/echo"]));
    let mut open = world.connect();
    let forwarded = [("x-api-key", key.text()), ("x-forwarded-for", "192.0.2.7")];
    let mut seen = || {
        open.write_all(get("/echo", &forwarded).as_bytes()).unwrap();
        read_answer(&mut open).upstream_saw("x-forwarded-for").unwrap()
    };
    assert_eq!(seen(), "127.0.0.1");
    let trusting = format!("trusted_proxies = [\"127.0.0.1\"]\n{}", routes(&["/echo"]));
    world.reload(&trusting).unwrap();
    assert_eq!(seen(), "192.0.2.7, 127.0.0.1");
    world.reload(&routes(&["/echo"])).unwrap();
    assert_eq!(seen(), "127.0.0.1");
}

#[test]
fn connections_to_endpoints_that_stay_are_kept_and_those_to_others_are_closed() {
    let (world, key) = world(&routes(&["/echo"]));
    let connects = || metric(&world, "keyward_upstream_connects_total{upstream=\"api\"}").unwrap_or(0);
    let mut open = world.connect();
    assert_eq!(call(&mut open, "/echo", &key).status, 200);
    let before = connects();
    for n in 0..20 {
        world.reload(&routes(&["/echo", &format!("/route-{n}")])).unwrap();
        assert_eq!(call(&mut open, "/echo", &key).status, 200);
    }
    assert_eq!(connects(), before);
    // The same endpoint under another name is another upstream's.
    let upstream = world.upstream.as_ref().unwrap().address();
    let other = format!(
        "[[routes]]\npath = \"/echo\"\nupstream = \"other\"\nrequire = \"account\"\n\
         [[upstreams]]\nname = \"other\"\nendpoints = [\"http://{upstream}\"]\n"
    );
    world.reload(&other).unwrap();
    assert_eq!(call(&mut open, "/echo", &key).status, 200);
    let labelled = |name: &str| {
        metric(
            &world,
            &format!("keyward_upstream_connects_total{{upstream=\"{name}\"}}"),
        )
    };
    assert_eq!((connects(), labelled("other")), (before, Some(1)));
}

#[test]
fn a_machine_that_is_out_stays_out_over_reloads() {
    let [ill, well] = [500, 200].map(|health| {
        Machine::start(move |request, stream| {
            let status = if request.is_for("/up") { health } else { 200 };
            answer(stream, status, "")
        })
    });
    let before = |path: &str| {
        format!(
            "[[upstreams]]\nname = \"two\"\nendpoints = [\"http://{}\", \"http://{}\"]\n\
             health = {{ path = \"/up\", interval = \"1s\", unhealthy = 2 }}\n\
             [[routes]]\npath = \"{path}\"\nupstream = \"two\"\nrequire = \"account\"\n",
            ill.address, well.address
        )
    };
    let (world, key) = world(&before("/"));
    let healthy = || metric(&world, "keyward_upstream_healthy{upstream=\"two\"}");
    eventually("one is out", || healthy() == Some(1));
    let mut open = world.connect();
    for target in ["/a", "/b"] {
        world.reload(&before(target)).unwrap();
        for _ in 0..4 {
            assert_eq!(call(&mut open, target, &key).status, 200);
        }
        assert_eq!((ill.seen(target).len(), well.seen(target).len()), (0, 4));
    }
}

#[test]
fn a_websocket_lives_through_reloads_that_take_its_route_and_its_upstream_away() {
    let (mut world, _echo, [key, _]) = crate::upgrades::world("");
    let nowhere = Echo::default().start(&world.runtime);
    let proxy = world.proxy;
    let runtime = std::mem::replace(&mut world.runtime, tokio::runtime::Runtime::new().unwrap());
    runtime.block_on(async {
        let mut socket = connect(proxy, &key).await;
        for _ in 0..5 {
            says(&mut socket, Message::text("still here")).await;
            world.reload(&configuration(nowhere, "")).unwrap();
            says(&mut socket, Message::text("and here")).await;
            world.reload(&routes(&["/echo"])).unwrap();
        }
        says(&mut socket, Message::text("at the end")).await;
    });
}

#[test]
fn a_file_that_changes_what_only_a_restart_can_is_refused_as_a_whole() {
    let (world, key) = world(&routes(&["/echo"]));
    let mut open = world.connect();
    let more = routes(&["/echo", "/new"]);
    let cases = [
        ("gateway.id", "[gateway]\nid = \"another\"\n"),
        ("sync", "[sync]\nmax_staleness = \"3s\"\n"),
        ("cache.entries", "[cache]\nentries = 77_777\n"),
        ("access_log.path", "[access_log]\npath = \"-\"\n"),
        (
            "limiter",
            "[limiter]\nmode = \"leased\"\nredis = \"redis://127.0.0.1:6379\"\n",
        ),
    ];
    for (setting, table) in cases {
        let error = world.reload(&format!("{more}{table}")).unwrap_err();
        assert!(matches!(&error, ReloadError::Fixed(_)), "{setting}: {error}");
        let text = error.to_string();
        assert!(text.starts_with(setting) && text.contains("restart"), "{text}");
        assert_eq!(call(&mut open, "/new", &key).status, 404, "{setting}");
    }
    let shared = world.gateway.as_ref().unwrap().shared();
    let mut config = world.configuration(&more);
    config.workers += 1;
    config.ledger_path = PathBuf::from("/elsewhere");
    config.listen.proxy.set_port(1);
    let text = shared.take(config).unwrap_err().to_string();
    assert!(text.starts_with("listen.proxy, ledger.path, workers: "), "{text}");
    assert_eq!(call(&mut open, "/new", &key).status, 404);
    world.reload(&more).unwrap();
    assert_eq!(call(&mut open, "/new", &key).status, 200);
}

#[test]
fn which_calls_are_logged_changes_with_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let logged = |sample: &str, refusals: bool| {
        let (routes, path) = (routes(&["/echo"]), path.display());
        format!("{routes}[access_log]\npath = \"{path}\"\nsample = {sample}\nrefusals = {refusals}\n")
    };
    let (world, key) = world(&logged("1.0", true));
    let mut open = world.connect();
    let mut both = |mark: &str| {
        assert_eq!(call(&mut open, &format!("/echo/{mark}"), &key).status, 200);
        assert_eq!(call(&mut open, &format!("/none/{mark}"), &key).status, 404);
    };
    both("all");
    world.reload(&logged("0.0", true)).unwrap();
    both("refused");
    world.reload(&logged("0.0", false)).unwrap();
    both("none");
    world.reload(&logged("1.0", false)).unwrap();
    both("again");
    let mut world = world;
    world.drain();
    let log = std::fs::read_to_string(&path).unwrap();
    let paths: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].to_string())
        .collect();
    assert_eq!(
        paths.join(" "),
        r#""/echo/all" "/none/all" "/none/refused" "/echo/again" "/none/again""#
    );
}

#[test]
fn counters_of_a_route_that_went_and_came_back_go_on_and_are_no_other_routes() {
    let (world, key) = world(&routes(&["/a", "/b"]));
    let mut open = world.connect();
    let requests = |route: &str| {
        let line = format!("keyward_requests_total{{route=\"{route}\",tier=\"growth\",code=\"200\"}}");
        metric(&world, &line).unwrap_or(0)
    };
    let used = |route: &str| {
        let of_route = |counter: &keyward_contract::feed::UsageCounter| {
            if counter.route == route {
                counter.accepted
            } else {
                0
            }
        };
        counted(&world, of_route)
    };
    for target in ["/a", "/b", "/b"] {
        assert_eq!(call(&mut open, target, &key).status, 200);
    }
    // "/b" goes, and another takes its place in the file.
    world.reload(&routes(&["/c", "/a"])).unwrap();
    for target in ["/c", "/c", "/c", "/a"] {
        assert_eq!(call(&mut open, target, &key).status, 200);
    }
    eventually("the new one has a name already", || used("/c") == 3);
    world.reload(&routes(&["/b", "/c", "/a"])).unwrap();
    assert_eq!(call(&mut open, "/b", &key).status, 200);
    eventually("all are counted", || used("/b") == 3);
    assert_eq!([used("/a"), used("/b"), used("/c")], [2, 3, 3]);
    eventually("all are settled", || requests("/b") == 3);
    assert_eq!([requests("/a"), requests("/b"), requests("/c")], [2, 3, 3]);
}

#[test]
fn routes_of_one_name_are_counted_together() {
    let route = |method: &str| {
        format!(
            "[[routes]]\npath = \"/x\"\nmethods = [\"{method}\"]\nupstream = \"api\"\nrequire = \"account\"\n"
        )
    };
    let (world, key) = world(&format!("{}{}", route("GET"), route("DELETE")));
    let mut open = world.connect();
    for method in ["GET", "DELETE", "DELETE"] {
        let request = get("/x", &[("x-api-key", key.text())]).replace("GET", method);
        open.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut open).status, 200);
    }
    // The control plane keeps the greatest value under a name: two counters would hide one another.
    let ledger = &world.gateway.as_ref().unwrap().shared().ledger;
    let counters = ledger.report(10).unwrap().counters;
    let values: Vec<_> = counters
        .iter()
        .map(|counter| (counter.route.as_str(), counter.accepted))
        .collect();
    assert_eq!(values, [("/x", 3)]);
}

#[test]
fn routes_of_one_name_are_limited_apart() {
    let route = |method: &str| {
        format!(
            "[[routes]]\npath = \"/delay\"\nmethods = [\"{method}\"]\nupstream = \"api\"\nrequire = \"account\"\n\
             max_in_flight = 1\n"
        )
    };
    let (world, key) = world(&format!("{}{}", route("GET"), route("DELETE")));
    let (mut slow, mut open) = (world.connect(), world.connect());
    let before = world.upstream_calls();
    ask(&mut slow, "/delay/2000", &key);
    eventually("the upstream has the call", || world.upstream_calls() > before);
    let request = get("/delay/1", &[("x-api-key", key.text())]).replace("GET", "DELETE");
    open.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut open).status, 200);
    assert_eq!(call(&mut open, "/delay/1", &key).status, 429);
    assert_eq!(read_answer(&mut slow).status, 200);
}

#[test]
fn places_in_flight_belong_to_a_route_wherever_a_reload_puts_it() {
    let bounded = |paths: &[&str]| {
        routes(paths).replace(
            "require = \"account\"",
            "require = \"account\"\nmax_in_flight = 1",
        )
    };
    let (world, key) = world(&bounded(&["/delay", "/echo"]));
    let (mut slow, mut open) = (world.connect(), world.connect());
    let before = world.upstream_calls();
    ask(&mut slow, "/delay/1500", &key);
    eventually("the upstream has the call", || world.upstream_calls() > before);
    world.reload(&bounded(&["/echo", "/delay"])).unwrap();
    assert_eq!(call(&mut open, "/echo", &key).status, 200);
    assert_eq!(call(&mut open, "/delay/1", &key).status, 429);
    assert_eq!(read_answer(&mut slow).status, 200);
    assert_eq!(call(&mut open, "/delay/1", &key).status, 200);
}

#[test]
fn a_bad_file_is_refused_and_the_old_one_stays_in_force_until_a_good_one_comes() {
    let (mut world, key) = world(&routes(&["/echo"]));
    let file = world.folder().join("gateway.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(&world.text(&routes(&["/echo"])));
    world.drain();
    let (followed, config) = ConfigFile::open(&file).unwrap();
    let gateway = keyward_gateway::Gateway::start(config).unwrap();
    world.proxy = gateway.proxy_address();
    world.gateway = Some(gateway);
    let shared = world.gateway.as_ref().unwrap().shared();
    let mut open = world.connect();
    let status = |target: &str, open: &mut TcpStream| call(open, target, &key).status;
    assert_eq!(followed.look(shared), None);

    write("workers = \"many\"");
    // It may not be whole yet: it is taken for what it is when it holds still.
    assert_eq!(followed.look(shared), None);
    assert_eq!(followed.look(shared), Some(Outcome::Refused));
    assert_eq!(followed.look(shared), None, "it is said once");
    assert_eq!(status("/echo", &mut open), 200);
    let detail = shared.reloads.detail();
    let error = detail["lastError"].as_str().unwrap();
    assert!(
        error.contains("gateway.toml:1") && error.contains("workers"),
        "{error}"
    );
    assert_eq!(
        metric(&world, "keyward_config_reloads_total{outcome=\"refused\"}"),
        Some(1)
    );
    assert_eq!(metric(&world, "keyward_config_last_reload_successful"), Some(0));

    let good = world.text(&routes(&["/echo", "/new"]));
    for half in [&good[..good.len() / 3], &good[..good.len() / 2]] {
        write(half);
        assert_eq!(followed.look(shared), None);
    }
    write(&good);
    assert_eq!(followed.look(shared), None);
    assert_eq!(status("/new", &mut open), 404);
    assert_eq!(followed.look(shared), Some(Outcome::Applied));
    assert_eq!(status("/new", &mut open), 200);
    assert_eq!(shared.reloads.detail()["lastError"], serde_json::Value::Null);
    assert_eq!(metric(&world, "keyward_config_last_reload_successful"), Some(1));

    std::fs::remove_file(&file).unwrap();
    assert_eq!(followed.reload(shared), Outcome::Refused);
    assert_eq!(status("/new", &mut open), 200);
}
