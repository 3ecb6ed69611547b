//! Upgrades that are refused, fail or are killed: somebody serves on, and nothing is lost or counted twice.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use keyward_contract::Limits;

use crate::cut::eventually;
use crate::fixture::{get, read_answer};
use crate::handover_ground::{DRAIN, Load, PLENTY, ROUTE, Served, addressed, child_of, kill, launch, lives};

/// Upgrades that failed, as the one that serves says.
fn failures(served: &Served) -> Option<u64> {
    served.metric("keyward_upgrades_total{outcome=\"failed\"}")
}

#[test]
fn an_upgrade_that_fails_before_or_after_it_was_given_everything_changes_nothing() {
    let good = format!("{ROUTE}{DRAIN}");
    let mut served = Served::start(PLENTY, &good);
    let load = Load::start(&served, 2);
    let first = served.now();
    let failed = |served: &Served, times| {
        eventually("it has failed", || {
            served.metric("keyward_upgrades_total{outcome=\"failed\"}") == Some(times)
        });
        assert_eq!((served.pid(), child_of(first)), (Some(first), None));
        assert_eq!(served.call("/echo").status, 200);
    };
    // The file watch may refuse it, too; that is another matter.
    std::fs::write(&served.file, "nonsense").unwrap();
    kill("USR2", first);
    failed(&served, 1);
    // Fails when everything was given: the address is somebody else's.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = addressed(&served.world, &good, (served.proxy, taken.local_addr().unwrap()));
    std::fs::write(&served.file, text).unwrap();
    kill("USR2", first);
    failed(&served, 2);
    // So it does where it finds no keys, although there were some.
    let text = addressed(&served.world, &good, (served.proxy, served.admin));
    std::fs::write(&served.file, text.replace("/replica\"", "/elsewhere\"")).unwrap();
    kill("USR2", first);
    failed(&served, 3);
    served.write(&good);
    served.upgrade();
    served.alone();
    let calls = load.end() + 3;
    served.stop();
    assert_eq!(served.counted(), calls);
}

#[test]
fn who_has_taken_over_hands_over_only_when_the_one_before_has_ended() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}[drain]\ntimeout = \"30s\"\n"));
    let mut slow = served.world.connect();
    let before = served.world.upstream_calls();
    slow.write_all(get("/delay/4000", &[("x-api-key", served.key.text())]).as_bytes())
        .unwrap();
    eventually("it is under way", || served.world.upstream_calls() > before);
    let elder = served.now();
    // Whoever asks twice gets one.
    kill("USR2", elder);
    served.upgrade();
    let heir = served.now();
    kill("USR2", heir);
    eventually("it is refused", || failures(&served) == Some(1));
    assert_eq!((served.pid(), child_of(heir)), (Some(heir), None));
    assert!(lives(elder), "it has a call yet");
    assert_eq!(read_answer(&mut slow).status, 200);
    served.alone();
    served.upgrade();
    served.alone();
    served.stop();
    assert_eq!(served.counted(), 1);
}

#[test]
fn usage_that_is_in_memory_alone_is_not_left_behind() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    let first = served.now();
    // No room: something else stands where this start keeps its usage.
    let ledger = served.world.folder().join("ledger");
    let entries = std::fs::read_dir(&ledger).unwrap().flatten();
    let epoch = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
        .max();
    let (folder, away) = (ledger.join(epoch.unwrap().to_string()), ledger.join("away"));
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "").unwrap();
    for _ in 0..5 {
        assert_eq!(served.call("/echo").status, 200);
    }
    let in_memory = |served: &Served| served.metric("keyward_ledger_in_memory ");
    eventually("it is in memory alone", || {
        in_memory(&served).is_some_and(|count| count > 0)
    });
    kill("USR2", first);
    eventually("it is refused", || failures(&served) == Some(1));
    assert_eq!((served.pid(), child_of(first)), (Some(first), None));
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    eventually("it is on the disk", || in_memory(&served) == Some(0));
    served.upgrade();
    served.alone();
    served.stop();
    assert_eq!(served.counted(), 5);
}

#[test]
fn a_heir_that_is_killed_at_any_moment_leaves_somebody_serving_or_a_clean_restart() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    let mut calls = 0;
    for moment in [0, 2, 5, 10, 20, 40, 80] {
        let before = served.now();
        let failed = |served: &Served| served.metric("keyward_upgrades_total{outcome=\"failed\"}");
        let failed_before = failed(&served);
        kill("USR2", before);
        let deadline = Instant::now() + Duration::from_secs(10);
        let heir = loop {
            if let Some(heir) = child_of(before) {
                break heir;
            }
            assert!(Instant::now() < deadline, "no heir");
        };
        // The moment of the kill.
        std::thread::sleep(Duration::from_millis(moment));
        kill("KILL", heir);
        eventually("the heir is gone", || !lives(heir));
        let settled = || {
            // The same program counts one more, or it is gone.
            !lives(before)
                || failed(&served).is_some_and(|now| failed_before.is_some_and(|before| now > before))
        };
        eventually("it is settled who serves", settled);
        if !lives(before) {
            // The heir had taken over: what a supervisor does.
            let _ = served.first.wait();
            served.first = launch(&served.file, &[]);
            served.pids.push(served.first.id());
            served.serves();
        }
        for _ in 0..3 {
            assert_eq!(served.call("/echo").status, 200);
            calls += 1;
        }
    }
    served.upgrade();
    served.alone();
    served.stop();
    assert_eq!(served.counted(), calls);
}

#[test]
fn buckets_are_whole_again_when_nobody_took_over_with_them() {
    let limits = Limits { rate: 1, burst: 80 };
    let good = format!("{ROUTE}{DRAIN}");
    let served = Served::start(limits, &good);
    for _ in 0..20 {
        assert_eq!(served.call("/echo").status, 200);
    }
    // Fails when it has been given the buckets: there can be no log in place of a folder.
    let log = format!("[access_log]\npath = \"{}\"\n", served.world.folder().display());
    served.write(&format!("{good}{log}"));
    kill("USR2", served.now());
    eventually("it has failed", || failures(&served) == Some(1));
    let log = std::fs::read_to_string(served.file.with_extension("log")).unwrap();
    assert!(log.contains("(beginning to serve)"), "{log}");
    for _ in 0..60 {
        assert_eq!(served.call("/echo").status, 200);
    }
}

#[test]
fn an_elder_whose_heir_dies_lets_nobody_in_and_ends_soon() {
    let drain = "[drain]\ntimeout = \"60s\"\nrevoked = \"1s\"\n";
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{drain}"));
    let request = get("/echo", &[("x-api-key", served.key.text())]);
    let ask = |stream: &mut std::net::TcpStream| {
        stream.write_all(request.as_bytes()).unwrap();
        read_answer(stream).status
    };
    let mut kept: Vec<_> = (0..20).map(|_| served.world.connect()).collect();
    assert!(kept.iter_mut().all(|stream| ask(stream) == 200));
    let mut endless = served.world.connect();
    let before = served.world.upstream_calls();
    endless
        .write_all(get("/delay/60000", &[("x-api-key", served.key.text())]).as_bytes())
        .unwrap();
    eventually("it is under way", || served.world.upstream_calls() > before);
    let elder = served.now();
    served.upgrade();
    assert!(lives(elder));
    let since = Instant::now();
    kill("KILL", served.now());
    // Nobody tells it of revocations any more.
    eventually("it knows", || {
        let log = std::fs::read_to_string(served.file.with_extension("log")).unwrap();
        log.contains("says nothing any more")
    });
    assert!(kept.iter_mut().any(|stream| ask(stream) != 200));
    eventually("it has ended", || !lives(elder));
    assert!(since.elapsed() < Duration::from_secs(20));
}
