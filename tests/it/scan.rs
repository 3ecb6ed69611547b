//! `keyward scan` as people and hooks run it: what it finds, how it ends, and that it never shows a key.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keyward_harness::binary;
use serde_json::Value;

/// A key that no control plane knows.
fn mint(kind: &str, environment: &str) -> String {
    let ran = Command::new(binary("keyward").unwrap())
        .args(["key", "mint", "--kind", kind, "--environment", environment])
        .output()
        .unwrap();
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

fn mask(key: &str) -> String {
    let head = key.rfind('_').unwrap() + 3;
    format!("{}…{}", &key[..head], &key[key.len() - 3..])
}

fn scan(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut running = Command::new(binary("keyward").unwrap())
        .arg("scan")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading it.
    let _ = running.stdin.take().unwrap().write_all(input);
    running.wait_with_output().unwrap()
}

/// Exit code and standard output, when neither output holds the key.
#[track_caller]
fn told(ran: &Output, keys: &[&str]) -> (i32, String) {
    let (out, err) = (
        String::from_utf8(ran.stdout.clone()).unwrap(),
        String::from_utf8(ran.stderr.clone()).unwrap(),
    );
    for key in keys {
        let random = &key[key.rfind('_').unwrap() + 1..];
        assert!(!out.contains(random) && !err.contains(random), "{out}{err}");
    }
    (ran.status.code().unwrap(), out)
}

#[test]
fn keys_are_found_wherever_they_hide_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (live, test, admin) = (mint("pk", "production"), mint("ck", "test"), mint("ak", "test"));
    std::fs::create_dir_all(at("src/.hidden")).unwrap();
    std::fs::create_dir_all(at(".git")).unwrap();
    std::fs::write(at(".gitignore"), "*.env\n").unwrap();
    std::fs::write(at("src/a.rs"), format!("fn main() {{}}\nlet key = \"{live}\";\n")).unwrap();
    std::fs::write(at("src/.hidden/x.env"), format!("KEY={test}\n")).unwrap();
    std::fs::write(at("blob"), [b"\0\x01".as_slice(), admin.as_bytes()].concat()).unwrap();
    let wide: Vec<u8> = live.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(at("wide.txt"), [b"\xff\xfe".as_slice(), &wide].concat()).unwrap();
    std::fs::write(at(".git/config"), &live).unwrap();
    std::fs::write(at(format!("{test}.bak").as_str()), "").unwrap();
    let keys = [live.as_str(), &test, &admin];
    let (code, out) = told(&scan(folder.path(), &["."], b""), &keys);
    assert_eq!(code, 1);
    let expected = [
        format!("./blob: byte 2: admin key {}", mask(&admin)),
        format!("./{0}.bak: in its name: customer key (test) {0}", mask(&test)),
        format!("./src/.hidden/x.env:1:5: customer key (test) {}", mask(&test)),
        format!("./src/a.rs:2:12: account key (production) {}", mask(&live)),
        format!(
            "./wide.txt: byte 2: account key (production) {} in UTF-16",
            mask(&live)
        ),
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    // What .gitignore leaves out is left out when that is asked for.
    let (code, out) = told(&scan(folder.path(), &["src", "--gitignore"], b""), &keys);
    assert_eq!((code, out.lines().count()), (1, 1), "{out}");
    // Known ones are not told.
    std::fs::write(
        at("known"),
        format!("# examples\n{} # the one of the docs\n", mask(&live)),
    )
    .unwrap();
    let (code, out) = told(
        &scan(folder.path(), &["src/a.rs", "--allow", "known"], b""),
        &keys,
    );
    assert_eq!((code, out.as_str()), (0, ""));
    // For programs.
    let (code, out) = told(&scan(folder.path(), &["--json", "src/a.rs"], b""), &keys);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    assert_eq!(
        line,
        serde_json::json!({
            "path": "src/a.rs", "in": "content", "line": 2, "column": 12, "offset": null, "kind": "account",
            "environment": "production", "mask": mask(&live), "encoding": "utf-8",
        })
    );
}

#[test]
fn of_a_diff_on_standard_input_only_added_lines_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (mint("ck", "production"), mint("pk", "test"));
    let diff = format!(
        "diff --git a/app.py b/app.py\nindex 1..2 100644\n--- a/app.py\n+++ b/app.py\n@@ -10,2 +10,2 @@\n x = 1\n\
         -key = '{old}'\n+key = '{new}'\n"
    );
    let (code, out) = told(&scan(folder.path(), &["-"], diff.as_bytes()), &[&old, &new]);
    assert_eq!(code, 1);
    assert_eq!(out, format!("app.py:11:8: account key (test) {}\n", mask(&new)));
    let removed = diff.replace(&new, "os.environ['KEY']");
    assert_eq!(
        told(&scan(folder.path(), &["-"], removed.as_bytes()), &[&old]),
        (0, String::new())
    );
    let (code, out) = told(
        &scan(folder.path(), &["-"], format!("a\n b {new}").as_bytes()),
        &[&new],
    );
    assert_eq!(
        (code, out),
        (1, format!("-:2:4: account key (test) {}\n", mask(&new)))
    );
}

#[test]
fn nothing_found_is_0_and_what_cannot_be_read_is_2() {
    let folder = tempfile::tempdir().unwrap();
    let key = mint("pk", "production");
    let mut mistyped = key.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'a' { 'b' } else { 'a' });
    std::fs::write(folder.path().join("clean"), format!("pk_live_\n{mistyped}\n")).unwrap();
    std::fs::write(folder.path().join("leak"), &key).unwrap();
    assert_eq!(
        told(&scan(folder.path(), &["clean"], b""), &[&key]),
        (0, String::new())
    );
    assert_eq!(told(&scan(folder.path(), &[], b""), &[&key]).0, 2);
    let (code, out) = told(&scan(folder.path(), &["leak", "nowhere"], b""), &[&key]);
    assert_eq!(
        (code, out.lines().count()),
        (2, 1),
        "what was found is told all the same"
    );
    assert_eq!(
        told(
            &scan(folder.path(), &["clean", "--allow", "nowhere"], b""),
            &[&key]
        )
        .0,
        2
    );
    // A key in a file of masks is one more leak.
    assert_eq!(
        told(&scan(folder.path(), &["clean", "--allow", "leak"], b""), &[&key]).0,
        2
    );
}

/// Not a promise of speed: it shows the figure, and that a large file is read in pieces.
#[test]
fn a_key_at_the_end_of_a_large_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let key = mint("ck", "production");
    let mut text = "let block_size = link_map[ck_live_pk_test_ak_]; // nothing here\n".repeat(1 << 18);
    text.push_str(&key);
    std::fs::write(folder.path().join("large"), &text).unwrap();
    let ran = scan(folder.path(), &["large"], b"");
    let (code, out) = told(&ran, &[&key]);
    let line = (1 << 18) + 1;
    assert_eq!(
        (code, out),
        (
            1,
            format!("large:{line}:1: customer key (production) {}\n", mask(&key))
        )
    );
    println!("{}", String::from_utf8_lossy(&ran.stderr));
}
