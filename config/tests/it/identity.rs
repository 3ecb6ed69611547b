//! `identity`.

use std::path::Path;
use std::time::Duration;

use crate::{gateway, parse_gateway};

#[test]
fn the_defaults_name_the_gateway_and_its_upstreams() {
    let identity = gateway("[gateway]\nid = \"edge-1\"\n").identity;
    assert_eq!(identity.key_file, Path::new("keyward-data/gateway/identity.pem"));
    assert!(identity.other_key_files.is_empty());
    assert_eq!((identity.issuer.as_str(), identity.audience), ("edge-1", None));
    assert_eq!(identity.lifetime, Duration::from_secs(300));
}

#[test]
fn everything_can_be_said() {
    let identity = gateway(
        "[identity]\nkey_file = \"a.pem\"\nother_key_files = [\"b.pem\", \"c.pem\"]\nissuer = \"https://edge.example\"\n\
         audience = \"internal\"\nlifetime = \"1m\"\n",
    )
    .identity;
    assert_eq!(identity.key_file, Path::new("a.pem"));
    assert_eq!(identity.other_key_files, [Path::new("b.pem"), Path::new("c.pem")]);
    assert_eq!(identity.issuer, "https://edge.example");
    assert_eq!(identity.audience.as_deref(), Some("internal"));
    assert_eq!(identity.lifetime, Duration::from_secs(60));
}

#[test]
fn what_could_not_work_is_refused() {
    let nine: Vec<_> = (0..9).map(|number| format!("\"{number}.pem\"")).collect();
    let nine = format!("other_key_files = [{}]", nine.join(", "));
    for (settings, expected) in [
        (nine.as_str(), "other_key_files: there are 9; write at most 8"),
        (
            "lifetime = \"9s\"",
            "lifetime: 9s is too little; write at least 10s",
        ),
        ("lifetime = \"2h\"", "lifetime: 2h is too much; write at most 1h"),
        (
            "other_key_files = [\"a.pem\", \"a.pem\"]",
            "other_key_files: \"a.pem\" is there twice; remove one",
        ),
        (
            "other_key_files = [\"keyward-data/gateway/identity.pem\"]",
            "other_key_files: \"keyward-data/gateway/identity.pem\" is key_file already; remove it here",
        ),
        (
            "audience = \" a\"",
            "audience: \" a\" can't be shown as a name; write 1 to 128 characters without spaces at the ends",
        ),
        (
            "issuer = \"\"",
            "issuer: \"\" can't be shown as a name; write 1 to 128 characters without spaces at the ends",
        ),
        (
            "key = \"a.pem\"",
            "key: is no known key; in identity there can be key_file, other_key_files, issuer, audience, lifetime",
        ),
    ] {
        let text = format!("[identity]\n{settings}\n{}", crate::LEAST);
        let message = parse_gateway(&text, &[]).unwrap_err();
        assert_eq!(message, format!("gateway.toml:2: identity.{expected}"));
    }
}
