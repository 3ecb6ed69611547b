use keyward_config::{GatewayConfig, Surroundings};

use super::*;

fn fleet(endpoints: &str, health: &str, earlier: Option<&Fleet>) -> Arc<Fleet> {
    let text = format!(
        "[[upstreams]]\nname = \"api\"\nendpoints = [{endpoints}]\n{health}\n[[routes]]\npath = \"/\"\n"
    );
    let config = GatewayConfig::from_toml(&text, "test.toml", &Surroundings::default()).unwrap();
    Fleet::after(&config.upstreams, &[], earlier)
}

fn states(fleet: &Fleet) -> Vec<(String, String)> {
    let state = fleet.detail();
    let machines = state[0]["machines"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    machines
        .iter()
        .map(|machine| (text(&machine["address"]), text(&machine["state"])))
        .collect()
}

#[test]
fn a_new_configuration_finds_the_machines_as_they_stood() {
    let passive = "health = { passive = { failures = 1 } }";
    let earlier = fleet("\"http://10.0.0.1:1\", \"http://10.0.0.2:1\"", passive, None);
    let machines = &earlier.upstreams()[0];
    machines.failed(&machines.all()[0], Duration::ZERO);
    assert_eq!((machines.healthy(), machines.tally().ejections()), (1, 1));

    let endpoints = "\"http://10.0.0.3:1\", \"http://10.0.0.1:1\"";
    let next = fleet(endpoints, passive, Some(&earlier));
    let expected = [("10.0.0.3:1", "healthy"), ("10.0.0.1:1", "ejected")];
    assert_eq!(
        states(&next),
        expected.map(|(address, state)| (address.to_owned(), state.to_owned()))
    );
    let machines = &next.upstreams()[0];
    assert_eq!((machines.healthy(), machines.tally().ejections()), (1, 1));
    assert!(!machines.usable()(1));
    // It comes back as it would have.
    machines.pass_time(Duration::from_secs(10));
    assert_eq!(machines.healthy(), 2);

    let without = fleet(endpoints, "", Some(&earlier));
    assert_eq!(without.upstreams()[0].healthy(), 2);
}

#[test]
fn a_machine_that_is_spoken_to_in_another_way_keeps_no_connections() {
    let plain = fleet("\"http://10.0.0.1:1\"", "", None);
    let same = fleet("\"http://10.0.0.1:1\"", "balance = \"least-requests\"", None);
    let other = fleet("\"http://10.0.0.1:1\"", "protocol = \"h2c\"", None);
    let first = |fleet: &Arc<Fleet>| Arc::clone(&fleet.upstreams()[0].all()[0]);
    assert!(first(&plain).is_spoken_to_like(&first(&same)));
    assert!(!first(&plain).is_spoken_to_like(&first(&other)));
}
