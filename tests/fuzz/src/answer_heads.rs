//! The head of an upstream's answer: the same however it is cut, framed in one way, and without what is not the
//! client's to see.

use bytes::BytesMut;
use http::{HeaderValue, Method};
use keyward_gateway::upstream::framing::Framing;
use keyward_gateway::upstream::head::{AnswerHead, Question, Read, read};

const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];

/// The first byte says what was asked, the rest is what came.
pub fn check(bytes: &[u8]) {
    let [asked, bytes @ ..] = bytes else { return };
    let bytes = &bytes[..bytes.len().min(2_048)];
    let method = &METHODS[usize::from(asked & 3) % METHODS.len()];
    let websocket = HeaderValue::from_static("websocket");
    let upgrade = (asked & 4 != 0).then_some(&websocket);
    let question = Question { method, upgrade };

    let (whole, left) = said(bytes, question);
    let step = usize::from(asked >> 3) + 1;
    let ends = (0..bytes.len()).step_by(step).chain([bytes.len()]);
    for end in ends {
        let (piece, left_of_piece) = said(&bytes[..end], question);
        if piece == "Partial" {
            assert_eq!(left_of_piece, end, "a part was taken out");
            continue;
        }
        assert_eq!(piece, whole, "cut at {end}");
        assert!(piece.starts_with("Err") || left - left_of_piece == bytes.len() - end);
        break;
    }
    if let Ok(Read::Final(head)) = read(&mut BytesMut::from(bytes), question) {
        is_framed_once(&head, question);
        says_its_length_once(bytes);
        is_for_the_client(&head);
    }
}

/// What is read of these bytes, in words, and how many are left.
fn said(bytes: &[u8], question: Question<'_>) -> (String, usize) {
    let mut buffer = BytesMut::from(bytes);
    let said = match read(&mut buffer, question) {
        // Which rule an answer breaks first depends on how much of it is there.
        Err(_) => "Err".to_owned(),
        Ok(read) => format!("{read:?}"),
    };
    (said, buffer.len())
}

fn is_framed_once(head: &AnswerHead, question: Question<'_>) {
    let has_no_body = question.method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304);
    let lengths: Vec<_> = head.headers.get_all("content-length").iter().collect();
    assert!(lengths.len() <= 1);
    let length = lengths
        .first()
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    assert_eq!(length.is_some(), !lengths.is_empty());
    match head.framing {
        Framing::Length(0) if has_no_body => {}
        Framing::Length(announced) => assert_eq!(Some(announced), length),
        Framing::Chunked(_) => assert!(length.is_none() && !has_no_body),
        Framing::Trailers => panic!("a head has no trailers"),
        Framing::UntilClose => {
            assert!(length.is_none() && !head.keeps_alive);
        }
    }
    if head.status.as_u16() == 101 {
        assert!(question.upgrade.is_some() && head.framing == Framing::UntilClose);
    } else {
        assert!((200..600).contains(&head.status.as_u16()));
    }
}

/// As it came: lengths that are one, and none beside chunks.
fn says_its_length_once(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut answer = httparse::Response::new(&mut fields);
    if !answer.parse(bytes).is_ok_and(|status| status.is_complete()) {
        return;
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let fields = answer.headers.iter();
        fields
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect()
    };
    let lengths: Vec<Option<u64>> = values("content-length")
        .iter()
        .map(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .collect();
    assert!(lengths.windows(2).all(|two| two[0] == two[1]) && !lengths.contains(&None));
    assert!(lengths.is_empty() || values("transfer-encoding").is_empty());
}

fn is_for_the_client(head: &AnswerHead) {
    for name in head.headers.keys().map(http::HeaderName::as_str) {
        let is_ours =
            name.starts_with("keyward-") || name.starts_with("x-ratelimit-") || name.starts_with("ratelimit");
        let is_hop_by_hop = matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        );
        assert!(!is_ours && !is_hop_by_hop && name != "x-request-id", "{name}");
    }
}
