use keyward_config::Portion;
use proptest::prelude::*;

use super::*;

fn passive(failures: u32, max_ejected: u8) -> PassiveChecks {
    PassiveChecks {
        failures,
        statuses: Vec::new(),
        ejection: Duration::from_millis(100),
        max_ejection: Duration::from_millis(350),
        max_ejected: Portion::percent(max_ejected),
    }
}

fn active(healthy: u32, unhealthy: u32) -> ActiveChecks {
    ActiveChecks {
        path: "/".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        healthy,
        unhealthy,
        expect: Vec::new(),
    }
}

#[test]
fn a_machine_is_out_after_so_many_failures_in_a_row() {
    let (standing, count, rules) = (Standing::default(), Count::default(), passive(3, 100));
    for _ in 0..10 {
        assert_eq!(standing.failed(&rules, &count, 2, 0), Turn::None);
        assert_eq!(standing.failed(&rules, &count, 2, 0), Turn::None);
        standing.succeeded();
    }
    for expected in [Turn::None, Turn::None, Turn::Out, Turn::None] {
        assert_eq!(standing.failed(&rules, &count, 2, 0), expected);
    }
    assert_eq!(
        (standing.is_healthy(), count.out(), count.tally().ejections()),
        (false, 1, 1)
    );
}

#[test]
fn each_ejection_that_follows_soon_is_twice_as_long_up_to_the_most() {
    let (standing, count, rules) = (Standing::default(), Count::default(), passive(1, 100));
    let mut now = 1_000;
    for length in [100, 200, 350, 350] {
        assert_eq!(standing.failed(&rules, &count, 1, now), Turn::Out);
        assert_eq!(standing.pass_time(&rules, &count, now + length - 1), Turn::None);
        now += length;
        assert_eq!(standing.pass_time(&rules, &count, now), Turn::Back);
        assert!(standing.is_healthy());
    }
    // Well for as long as the ejections lasted, step by step: as if nothing had been.
    for _ in 0..4 {
        now += 350;
        standing.pass_time(&rules, &count, now);
    }
    assert_eq!(standing.failed(&rules, &count, 1, now), Turn::Out);
    assert_eq!(standing.pass_time(&rules, &count, now + 100), Turn::Back);
    assert_eq!(count.out(), 0);
}

#[test]
fn checks_put_out_and_bring_back_after_so_many_in_a_row() {
    let (standing, count, rules) = (Standing::default(), Count::default(), active(2, 3));
    let way = [
        (false, Turn::None),
        (false, Turn::None),
        (true, Turn::None),
        (false, Turn::None),
        (false, Turn::None),
        (false, Turn::Out),
        (false, Turn::None),
        (true, Turn::None),
        (false, Turn::None),
        (true, Turn::None),
        (true, Turn::Back),
        (true, Turn::None),
    ];
    for (at, (is_good, expected)) in way.into_iter().enumerate() {
        assert_eq!(standing.checked(is_good, &rules, &count), expected, "{at}");
    }
}

#[test]
fn who_is_out_for_two_reasons_is_back_when_both_are_gone() {
    let (standing, count) = (Standing::default(), Count::default());
    let (calls, checks) = (passive(1, 100), active(1, 1));
    assert_eq!(standing.failed(&calls, &count, 2, 0), Turn::Out);
    assert_eq!(standing.checked(false, &checks, &count), Turn::None);
    assert_eq!(standing.pass_time(&calls, &count, 100), Turn::None);
    assert_eq!((standing.word(), count.out()), ("unhealthy", 1));
    assert_eq!(standing.checked(true, &checks, &count), Turn::Back);
    assert_eq!((standing.word(), count.out()), ("healthy", 0));
}

#[test]
fn a_new_configuration_takes_over_what_it_still_has_checks_for() {
    let (earlier, count) = (Standing::default(), Count::default());
    let (calls, checks) = (passive(1, 100), active(1, 1));
    earlier.failed(&calls, &count, 2, 0);
    earlier.checked(false, &checks, &count);
    for (active, passive, word, out) in [
        (Some(&checks), Some((&calls, 2)), "unhealthy, ejected", 1),
        (Some(&checks), None, "unhealthy", 1),
        (None, Some((&calls, 2)), "ejected", 1),
        (None, None, "healthy", 0),
    ] {
        let (standing, count) = (Standing::default(), Count::default());
        standing.inherit(&earlier, active, passive, &count);
        assert_eq!((standing.word(), count.out()), (word, out));
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Fails(usize),
    Succeeds(usize),
    Time(u64),
    Check(usize, bool),
}

fn event(machines: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..machines).prop_map(Event::Fails),
        1 => (0..machines).prop_map(Event::Succeeds),
        1 => (0u64..200).prop_map(Event::Time),
        1 => (0..machines, any::<bool>()).prop_map(|(machine, is_good)| Event::Check(machine, is_good)),
    ]
}

proptest! {
    #[test]
    fn never_more_are_ejected_than_their_share_and_the_count_is_right(
        machines in 1usize..12, share in 0u8..=100, events in prop::collection::vec(event(12), 0..300),
    ) {
        let (rules, checks, count) = (passive(2, share), active(1, 2), Count::default());
        let all: Vec<_> = (0..machines).map(|_| Standing::default()).collect();
        let mut now = 0;
        for event in events {
            match event {
                Event::Fails(at) => { all[at % machines].failed(&rules, &count, machines, now); }
                Event::Succeeds(at) => all[at % machines].succeeded(),
                Event::Check(at, is_good) => { all[at % machines].checked(is_good, &checks, &count); }
                Event::Time(more) => {
                    now += more;
                    for machine in &all {
                        machine.pass_time(&rules, &count, now);
                    }
                }
            }
            let ejected = all.iter().filter(|machine| machine.word().ends_with("ejected")).count();
            prop_assert!(ejected * 100 <= machines * usize::from(share));
            let out = all.iter().filter(|machine| !machine.is_healthy()).count();
            prop_assert_eq!(count.out() as usize, out);
        }
    }
}

#[test]
fn workers_that_fail_together_eject_no_more_than_the_share() {
    for _ in 0..50 {
        let (count, rules) = (Arc::new(Count::default()), passive(1, 50));
        let all: Arc<Vec<_>> = Arc::new((0..4).map(|_| Standing::default()).collect());
        let workers: Vec<_> = (0..4)
            .map(|worker: usize| {
                let (count, rules, all) = (Arc::clone(&count), rules.clone(), Arc::clone(&all));
                std::thread::spawn(move || {
                    for at in 0..40 {
                        all[(worker + at) % 4].failed(&rules, &count, 4, 0);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(all.iter().filter(|machine| !machine.is_healthy()).count(), 2);
        assert_eq!((count.out(), count.tally().ejections()), (2, 2));
    }
}
