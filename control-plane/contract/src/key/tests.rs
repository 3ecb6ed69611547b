use proptest::prelude::*;

use super::*;

fn any_kind() -> impl Strategy<Value = KeyKind> {
    prop_oneof![
        Just(KeyKind::Account),
        Just(KeyKind::Customer),
        Just(KeyKind::Admin),
        Just(KeyKind::Gateway)
    ]
}

fn any_environment() -> impl Strategy<Value = Environment> {
    prop_oneof![Just(Environment::Test), Just(Environment::Production)]
}

proptest! {
    #[test]
    fn a_minted_key_parses_to_its_own_shape(kind in any_kind(), environment in any_environment()) {
        let key = PlainKey::mint(kind, environment).unwrap();
        let shape = KeyShape::parse(key.expose().as_bytes()).unwrap();
        prop_assert_eq!(shape, key.shape());
        prop_assert_eq!(shape.kind, kind);
        prop_assert_eq!(shape.environment.is_some(), kind.has_environment());
        prop_assert!(key.expose().len() <= MAX_KEY_LENGTH);
    }

    #[test]
    fn one_changed_character_is_always_noticed(kind in any_kind(), at in 0usize..46, to in 0usize..62) {
        let key = PlainKey::mint(kind, Environment::Production).unwrap();
        let mut text = key.expose().as_bytes().to_vec();
        let at = at % text.len();
        prop_assume!(text[at] != ALPHABET[to]);
        text[at] = ALPHABET[to];
        prop_assert!(KeyShape::parse(&text).is_err());
    }

    #[test]
    fn two_swapped_neighbours_are_always_noticed(at in 9usize..46) {
        let key = PlainKey::mint(KeyKind::Account, Environment::Test).unwrap();
        let mut text = key.expose().as_bytes().to_vec();
        prop_assume!(text[at] != text[at - 1]);
        text.swap(at, at - 1);
        prop_assert_eq!(KeyShape::parse(&text), Err(MalformedKey::Checksum));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = KeyShape::parse(&bytes);
    }

    #[test]
    fn a_mask_never_holds_more_than_five_characters_of_the_key(kind in any_kind()) {
        let key = PlainKey::mint(kind, Environment::Production).unwrap();
        let mask = key.mask().to_string();
        let (head, tail) = mask.split_once('…').unwrap();
        prop_assert_eq!(head.len() - key.shape().prefix().len() + tail.len(), 5);
        prop_assert!(key.expose().starts_with(head) && key.expose().ends_with(tail));
    }
}

#[test]
fn a_key_never_shows_in_debug_output() {
    let key = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
    assert_eq!(format!("{key:?}"), "PlainKey(pk_live_…)");
}

#[test]
fn minted_characters_are_spread_evenly() {
    let mut seen = [0u32; 256];
    for _ in 0..2_000 {
        let key = PlainKey::mint(KeyKind::Admin, Environment::Production).unwrap();
        key.expose().as_bytes()[3..35]
            .iter()
            .for_each(|byte| seen[usize::from(*byte)] += 1);
    }
    // 64 000 draws over 62 characters: 1 032 each, standard deviation 32; eight of them either way.
    assert!(
        ALPHABET
            .iter()
            .all(|byte| (776..=1288).contains(&seen[usize::from(*byte)]))
    );
}
