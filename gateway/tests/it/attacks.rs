//! Attacks: bytes in, and exactly what the client and the upstream must see of them.
//!
//! `attacks/http1/*.txt` are the cases, a file a topic; `attacks/case.rs` says how they are written. Every case is sent
//! whole, cut at each end of a line, byte by byte, on a kept connection behind a good call and in one breath with it;
//! the upstream writes down every byte (`recorder.rs`). After each the gateway must serve the next caller, and
//! the upstream must have seen what the case says and nothing else. `attacks/slow.rs` has what takes time or room.

mod case;
mod client;
mod ground;
mod slow;

use case::Case;
use client::{Delivery, Fault};
use ground::Ground;

/// Runs every case of a topic in every way, and tells all that failed.
#[track_caller]
fn run(text: &str) {
    let ground = Ground::start();
    let mut faults = Vec::new();
    for case in case::read(text) {
        for delivery in Delivery::ALL {
            if !case.is_for(delivery) {
                continue;
            }
            if let Err(Fault(fault)) = ground.run(&case, delivery) {
                faults.push(format!("== {} ({delivery:?})\n   {fault}", case.name));
                ground.clean();
                break;
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} cases failed\n{}",
        faults.len(),
        faults.join("\n")
    );
}

macro_rules! topics {
    ($($test:ident: $file:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            run(include_str!(concat!("attacks/http1/", $file, ".txt")));
        })*

        const TOPICS: &[&str] = &[$(include_str!(concat!("attacks/http1/", $file, ".txt"))),*];
    };
}

topics! {
    a_request_line_is_read_in_one_way_or_not_at_all: "request-line",
    a_path_is_checked_and_forwarded_in_one_form: "paths",
    there_is_exactly_one_authority: "authority",
    fields_are_well_formed_or_the_request_is_refused: "fields",
    a_body_ends_where_everybody_thinks_it_ends: "framing",
    chunks_are_well_formed_or_nothing_of_the_request_is_whole: "chunks",
    a_client_can_remove_nothing_and_forge_nothing: "identity",
    credentials_are_one_and_plain: "credentials",
    what_is_pipelined_is_served_in_order_and_nothing_else_is: "pipelining",
    bounds_hold_to_the_byte: "bounds",
    expectations_and_upgrades_open_no_way_past: "upgrades",
}

#[test]
fn there_are_enough_cases_and_each_has_a_name_of_its_own() {
    let cases: Vec<Case> = TOPICS.iter().flat_map(|text| case::read(text)).collect();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    assert!(cases.len() >= 150, "{}", cases.len());
}
