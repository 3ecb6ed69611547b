//! `routes.split`.

use keyward_config::Share;

use crate::routes::parse;

fn split(text: &str) -> Result<(usize, Vec<Share>), String> {
    let mut config = parse(&format!("[[routes]]\nsplit = {text}\n"))?;
    let route = config.routes.remove(0);
    Ok((route.upstream, route.split))
}

#[test]
fn shares_are_those_that_were_written() {
    let share = |upstream, weight| Share { upstream, weight };
    assert_eq!(
        split("[{ upstream = \"api\", weight = 9 }, { upstream = \"other\", weight = 1 }]"),
        Ok((0, vec![share(0, 9), share(1, 1)]))
    );
    assert_eq!(
        split("[{ upstream = \"api\", weight = 0 }, { upstream = \"other\", weight = 1000 }]"),
        Ok((1, vec![share(0, 0), share(1, 1_000)]))
    );
}

#[test]
fn a_split_that_says_nothing_clear_is_refused() {
    for (text, expected) in [
        (
            "[]",
            "there is none; write [{ upstream = \"api\", weight = 9 }, { upstream = \"canary\", weight = 1 }]",
        ),
        (
            "[{ upstream = \"api\", weight = 0 }, { upstream = \"other\", weight = 0 }]",
            "gives no upstream any call; write a weight from 1",
        ),
        (
            "[{ upstream = \"api\", weight = 1 }]\nupstream = \"api\"",
            "says where calls go, and upstream does too; remove one",
        ),
    ] {
        let message = split(text).unwrap_err();
        assert_eq!(
            message,
            format!("gateway.toml:3: routes[0].split: {expected}"),
            "{text}"
        );
    }
    for (text, expected) in [
        (
            "[{ upstream = \"api\", weight = 1001 }]",
            "[0].weight: 1001 is too much; write at most 1000",
        ),
        (
            "[{ upstream = \"api\" }]",
            "[0].weight: is missing; write one, such as 1",
        ),
        (
            "[{ weight = 1 }]",
            "[0].upstream: is missing; write the name of an upstream, such as \"api\"",
        ),
        (
            "[{ upstream = \"api\", weight = -1 }]",
            "[0].weight: -1 is a number; write a whole number from 0",
        ),
        (
            "[{ upstream = \"apis\", weight = 1 }]",
            "[0].upstream: \"apis\" is not known here; did you mean \"api\"? Write \"api\" or \"other\"",
        ),
        (
            "[{ upstream = \"api\", weight = 1 }, { upstream = \"api\", weight = 2 }]",
            "[1].upstream: \"api\" is there twice; add its weights up",
        ),
        (
            "[{ upstream = \"api\", wieght = 1 }]",
            "[0].wieght: is no known key; did you mean \"weight\"?",
        ),
    ] {
        let message = split(text).unwrap_err();
        assert_eq!(
            message,
            format!("gateway.toml:3: routes[0].split{expected}"),
            "{text}"
        );
    }
}

#[test]
fn a_split_has_no_more_shares_than_can_be_laid_out() {
    let named = |count: usize| {
        let names = (0..count).map(|number| format!("u{number}"));
        let shares: Vec<_> = names
            .clone()
            .map(|name| format!("{{ upstream = \"{name}\", weight = 1 }}"))
            .collect();
        let upstreams: String = names
            .map(|name| format!("[[upstreams]]\nname = \"{name}\"\nendpoints = [\"http://127.0.0.1:1\"]\n"))
            .collect();
        let text = format!("{}[[routes]]\nsplit = [{}]\n", upstreams, shares.join(", "));
        crate::parse_gateway(&text, &[]).map(|config| config.routes[0].split.len())
    };
    assert_eq!(named(32), Ok(32));
    let message = named(33).unwrap_err();
    assert!(
        message.ends_with("routes[0].split: there are 33; write at most 32"),
        "{message}"
    );
}
