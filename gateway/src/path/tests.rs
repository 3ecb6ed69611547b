use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(raw: &str, expected: Result<&str, PathError>) {
    let normalised = normalise(raw);
    assert_eq!(
        normalised
            .as_ref()
            .map(Normalised::as_str)
            .map_err(|error| *error),
        expected,
        "of {raw:?}"
    );
}

#[test]
fn a_clean_path_is_borrowed_as_it_is() {
    for raw in [
        "/",
        "/v1/orders",
        "/v1.0/a.json",
        "/.well-known/x",
        "/...",
        "/a//b/",
        "/a;v=1/b:c@d!$&'()*+,=",
        "/~x_y-z",
    ] {
        let normalised = normalise(raw).unwrap();
        assert_eq!(normalised.as_str(), raw);
        assert!(normalised.is_unchanged(), "{raw}");
        assert!(!normalised.has_encoded_slash());
    }
}

#[test]
fn characters_that_need_no_encoding_are_decoded_once() {
    check("/%61%62%7E%2d", Ok("/ab~-"));
    check("/%2561", Ok("/%2561"));
    check("/%252e%252e/x", Ok("/%252e%252e/x"));
    check("/%25%32%65", Ok("/%252e"));
}

#[test]
fn other_encodings_are_kept_in_upper_case() {
    check("/a%3ab%2b%c3%a9", Ok("/a%3Ab%2B%C3%A9"));
    check("/a%20b", Ok("/a%20b"));
    check("/a%3Fb%23", Ok("/a%3Fb%23"));
}

#[test]
fn raw_and_encoded_forms_of_a_character_that_needs_encoding_are_one_path() {
    check("/é", Ok("/%C3%A9"));
    check("/a\"b<c>[d]^`{e}|", Ok("/a%22b%3Cc%3E%5Bd%5D%5E%60%7Be%7D%7C"));
}

#[test]
fn dot_segments_are_resolved_in_every_spelling() {
    check("/a/./b", Ok("/a/b"));
    check("/a/../b", Ok("/b"));
    check("/a/%2e%2E/b", Ok("/b"));
    check("/a/.%2e/b", Ok("/b"));
    check("/a/b/..", Ok("/a/"));
    check("/a/.", Ok("/a/"));
    check("/.", Ok("/"));
    check("/a/..", Ok("/"));
    check("/a//../b", Ok("/a/b"));
    check("/a/b/c/../../d", Ok("/a/d"));
}

#[test]
fn dot_segments_that_leave_the_root_are_refused() {
    for raw in ["/..", "/../a", "/a/../../b", "/%2e%2e", "/./.."] {
        check(raw, Err(PathError::AboveRoot));
    }
}

#[test]
fn dot_segments_in_disguise_are_refused() {
    for raw in [
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.;",
        "/a/..%3b/b",
        "/a/..%2fb",
        "/a%2f..%2fb",
        "/a%2F..",
        "/x%2F.%2Fy",
    ] {
        check(raw, Err(PathError::DisguisedDots));
    }
    // `/x` where the slash is decoded first, `/` where it is not.
    check("/x%2fy/..", Err(PathError::DisguisedDots));
    check("/%2f/%2e%2e", Err(PathError::DisguisedDots));
    check("/x%2fy/z/..", Ok("/x%2Fy/"));
    check("/a/...;x", Ok("/a/...;x"));
    check("/a/..b;x", Ok("/a/..b;x"));
}

#[test]
fn double_slashes_are_kept() {
    check("//a///b//", Ok("//a///b//"));
}

#[test]
fn an_encoded_slash_is_kept_and_reported_and_separates_nothing() {
    let normalised = normalise("/a%2fb/c").unwrap();
    assert_eq!(normalised.as_str(), "/a%2Fb/c");
    assert!(normalised.has_encoded_slash());
    assert!(!normalise("/a%20b").unwrap().has_encoded_slash());
    assert!(!normalise("/a%252Fb").unwrap().has_encoded_slash());
}

#[test]
fn what_no_path_may_hold_is_refused_raw_and_encoded() {
    check("", Err(PathError::NotAbsolute));
    check("*", Err(PathError::NotAbsolute));
    check("a/b", Err(PathError::NotAbsolute));
    check("/a\\b", Err(PathError::Backslash));
    check("/a%5cb", Err(PathError::Backslash));
    check("/a%5Cb", Err(PathError::Backslash));
    check("/a\0", Err(PathError::Control));
    check("/a%00", Err(PathError::Control));
    check("/a%0d%0aX", Err(PathError::Control));
    check("/a%7f", Err(PathError::Control));
    check("/a\u{7f}", Err(PathError::Control));
    check("/a?b", Err(PathError::Reserved));
    check("/a#b", Err(PathError::Reserved));
    check("/a b", Err(PathError::Reserved));
}

#[test]
fn malformed_escapes_are_refused() {
    for raw in ["/%", "/%4", "/%zz", "/%4g", "/a%", "/%+1", "/%é"] {
        check(raw, Err(PathError::Escape));
    }
}

#[test]
fn invalid_and_overlong_utf8_is_refused() {
    for raw in [
        "/%c0%ae",
        "/%c0%ae%c0%ae/x",
        "/%c0%af",
        "/%e0%80%af",
        "/%ff",
        "/%c3",
        "/%c3/%a9",
        "/%ed%a0%80",
        "/é%a9",
    ] {
        check(raw, Err(PathError::NotUtf8));
    }
    check("/%F0%9F%98%80", Ok("/%F0%9F%98%80"));
}

/// Paths from the pieces that attacks are made of.
fn hostile_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("//"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E"),
        Just("%2f"),
        Just("%2F"),
        Just(";"),
        Just("%3b"),
        Just("a"),
        Just("%61"),
        Just("%25"),
        Just("%c3%a9"),
        Just("é"),
        Just("%"),
        Just("\\"),
        Just("%5c"),
        Just("%00"),
        Just(":"),
        Just("{"),
        Just("%20"),
        Just("2e"),
        Just("%c0%ae"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_path_makes_it_panic(raw in "\\PC{0,40}") {
        let _ = normalise(&raw);
    }

    #[test]
    fn the_one_form_is_its_own_form(raw in hostile_path()) {
        if let Ok(once) = normalise(&raw) {
            let twice = normalise(once.as_str()).unwrap();
            prop_assert_eq!(twice.as_str(), once.as_str());
            prop_assert_eq!(twice.has_encoded_slash(), once.has_encoded_slash());
            prop_assert!(twice.is_unchanged());
        }
    }

    #[test]
    fn no_reader_finds_a_dot_segment_in_it(raw in hostile_path()) {
        if let Ok(normalised) = normalise(&raw) {
            let text = normalised.as_str();
            let decoded = String::from_utf8(decoded(text).collect()).unwrap();
            for view in [text, &decoded] {
                for segment in view.split('/') {
                    let name = segment.split(';').next().unwrap();
                    prop_assert!(name != "." && name != "..", "{} in {}", segment, view);
                }
            }
        }
    }

    #[test]
    fn it_holds_only_what_a_path_may_hold(raw in hostile_path()) {
        if let Ok(normalised) = normalise(&raw) {
            let text = normalised.as_str();
            prop_assert!(text.starts_with('/'));
            let forbidden = b"\\\"<>[]^`{|}#?";
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !forbidden.contains(&byte)));
            prop_assert_eq!(normalised.has_encoded_slash(), text.contains("%2F"));
            prop_assert!(text.parse::<http::uri::PathAndQuery>().is_ok());
        }
    }

    #[test]
    fn writing_any_unreserved_character_encoded_changes_nothing(
        before in "(/[a-z0-9._~-]{0,6}){1,4}", character in "[a-z0-9._~-]", after in "[a-z0-9._~/-]{0,8}"
    ) {
        let plain = format!("{before}{character}{after}");
        let encoded = format!("{before}%{:02x}{after}", character.as_bytes()[0]);
        prop_assert_eq!(
            normalise(&encoded).map(|path| path.into_text().into_owned()),
            normalise(&plain).map(|path| path.into_text().into_owned())
        );
    }
}
