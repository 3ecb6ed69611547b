//! Every dependency's licence against the list in `deny.toml`, as `cargo metadata` tells it: no tool to
//! install, no network.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let allowed = allowed(&std::fs::read_to_string(root.join("deny.toml")).unwrap());
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (package, licence) in dependencies(&root) {
        match permitted(&licence, &allowed) {
            Some(these) => used.extend(these),
            None => wrong.push(format!("{package}: {licence}")),
        }
    }
    assert!(wrong.is_empty(), "not allowed by deny.toml: {wrong:#?}");
    let idle: Vec<_> = allowed.difference(&used).collect();
    assert!(
        idle.is_empty(),
        "allowed by deny.toml, and needed by nothing: {idle:?}"
    );
}

fn allowed(deny: &str) -> BTreeSet<String> {
    let deny: toml::Table = deny.parse().unwrap();
    let list = deny["licenses"]["allow"].as_array().unwrap();
    list.iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// Name and licence of all that is built for this platform, ourselves included.
fn dependencies(root: &Path) -> Vec<(String, String)> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let resolved = told["resolve"]["nodes"].as_array().unwrap();
    let resolved: BTreeSet<&str> = resolved.iter().filter_map(|node| node["id"].as_str()).collect();
    let packages = told["packages"].as_array().unwrap();
    let built = packages
        .iter()
        .filter(|package| resolved.contains(package["id"].as_str().unwrap()));
    built
        .map(|package| {
            let text = |field: &str| package[field].as_str().unwrap_or("none given").to_owned();
            (text("name"), text("license"))
        })
        .collect()
}

/// The licences by which an SPDX expression is permitted: every part of an `AND`, the first allowed part of an
/// `OR`. `/` is the old way to write `OR`.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut tokens: Vec<&str> = spaced.split_whitespace().rev().collect();
    let outcome = any_of(&mut tokens, allowed);
    assert!(tokens.is_empty(), "not understood: {expression}");
    outcome
}

// The tokens are in reverse order: the next one is the last.
fn any_of(tokens: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let mut chosen = all_of(tokens, allowed);
    while tokens.last() == Some(&"OR") {
        tokens.pop();
        let other = all_of(tokens, allowed);
        chosen = chosen.or(other);
    }
    chosen
}

fn all_of(tokens: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let mut together = one(tokens, allowed);
    while tokens.last() == Some(&"AND") {
        tokens.pop();
        let next = one(tokens, allowed);
        together = together.zip(next).map(|(mut left, right)| {
            left.extend(right);
            left
        });
    }
    together
}

fn one(tokens: &mut Vec<&str>, allowed: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let mut name = tokens.pop().unwrap().to_owned();
    if name == "(" {
        let inner = any_of(tokens, allowed);
        assert_eq!(tokens.pop(), Some(")"));
        return inner;
    }
    if tokens.last() == Some(&"WITH") {
        tokens.pop();
        name = format!("{name} WITH {}", tokens.pop().unwrap());
    }
    allowed.contains(&name).then(|| BTreeSet::from([name]))
}

#[test]
fn a_licence_expression_is_read_as_spdx_says() {
    let check = |expression: &str, expected: bool| {
        let allowed = BTreeSet::from(["MIT".to_owned(), "Zlib".to_owned()]);
        assert_eq!(
            permitted(expression, &allowed).is_some(),
            expected,
            "{expression}"
        );
    };
    check("MIT", true);
    check("GPL-3.0-only", false);
    check("GPL-3.0-only OR MIT", true);
    check("GPL-3.0-only/MIT", true);
    check("GPL-3.0-only AND MIT", false);
    check("(GPL-3.0-only OR MIT) AND Zlib", true);
    check("GPL-3.0-only OR MIT AND BSD-3-Clause", false);
    check("MIT WITH LLVM-exception", false);
    check("MIT WITH LLVM-exception OR Zlib", true);
}
