use proptest::prelude::*;

use super::*;

fn plain(method: &Method) -> Question<'_> {
    Question {
        method,
        upgrade: None,
    }
}

#[test]
fn a_switch_is_an_answer_to_who_asked_for_that_protocol_alone() {
    let websocket = HeaderValue::from_static("websocket");
    let switched = |fields: &str| {
        let mut buffer = BytesMut::from(format!("HTTP/1.1 101 Switching\r\n{fields}\r\nfirst").as_str());
        let question = Question {
            method: &Method::GET,
            upgrade: Some(&websocket),
        };
        match read(&mut buffer, question) {
            Ok(Read::Final(head)) => Some((head.headers.len(), buffer.to_vec())),
            Ok(Read::Interim | Read::Partial) => panic!("no answer"),
            Err(_) => None,
        }
    };
    let accepted = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n";
    assert_eq!(switched(accepted), Some((1, b"first".to_vec())));
    for wrong in [
        "",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(switched(wrong), None, "{wrong:?}");
    }
}

fn parse(head: &str, method: Method) -> Result<Option<(u16, Framing, bool)>, Malformed> {
    let mut buffer = BytesMut::from(head);
    match read(&mut buffer, plain(&method))? {
        Read::Final(head) => Ok(Some((head.status.as_u16(), head.framing, head.keeps_alive))),
        Read::Interim | Read::Partial => Ok(None),
    }
}

#[track_caller]
fn check(head: &str, expected: Result<Option<(u16, Framing, bool)>, ()>) {
    assert_eq!(parse(head, Method::GET).map_err(|_| ()), expected, "{head:?}");
}

#[test]
fn the_framing_is_what_rfc_9112_says() {
    let chunked = Framing::Chunked(Chunks::default());
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        Ok(Some((200, Framing::Length(5), true))),
    );
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
        Ok(Some((200, chunked, true))),
    );
    check(
        "HTTP/1.1 200 OK\r\n\r\n",
        Ok(Some((200, Framing::UntilClose, false))),
    );
    check(
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
        Ok(Some((204, Framing::Length(0), true))),
    );
    check(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
        Ok(Some((200, Framing::Length(1), false))),
    );
    check(
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
        Ok(Some((200, Framing::Length(1), false))),
    );
    check(
        "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n",
        Ok(Some((200, Framing::Length(1), true))),
    );
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        Ok(Some((200, Framing::Length(5), true))),
    );
    check("HTTP/1.1 100 Continue\r\n\r\n", Ok(None));
    check("HTTP/1.1 200 OK\r\nContent-", Ok(None));
    let head = parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD);
    assert_eq!(head, Ok(Some((200, Framing::Length(0), true))));
}

#[test]
fn what_can_be_read_in_two_ways_is_malformed() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: ,chunked",
        "a b: c",
        "a: b\r\n c",
        "a: \0",
    ] {
        check(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), Err(()));
    }
    check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err(()));
    check("HTTP/2 200 OK\r\n\r\n", Err(()));
    check("HTTP/1.1 101 Switching\r\n\r\n", Err(()));
    check("HTTP/1.1 999 Odd\r\n\r\n", Err(()));
    check("garbage\r\n\r\n", Err(()));
    check(
        &format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD)),
        Err(()),
    );
    // Also when all of it comes at once.
    check(
        &format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(MAX_HEAD)),
        Err(()),
    );
    check(
        &format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1)),
        Err(()),
    );
}

#[test]
fn only_end_to_end_fields_get_through() {
    let mut buffer = BytesMut::from(
        "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nx-hop: 1\r\nKeep-Alive: 5\r\nKeyward-Account: forged\r\n\
         X-RateLimit-Limit: 9\r\nRateLimit: x\r\nX-Request-Id: y\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nrest",
    );
    let Read::Final(head) = read(&mut buffer, plain(&Method::GET)).unwrap() else {
        panic!()
    };
    assert_eq!(
        head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
        ["set-cookie"]
    );
    assert_eq!(head.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(&buffer[..], b"rest");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&mut BytesMut::from(bytes.as_slice()), plain(&Method::GET));
        let text = [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes, b"\r\n\r\n"].concat();
        let _ = read(&mut BytesMut::from(text.as_slice()), plain(&Method::GET));
    }
}
