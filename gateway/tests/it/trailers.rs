//! What follows a body: to whom it goes on, and what of it.

use std::io::{Read, Write};

use crate::services::{all_of, answer_by, read_head, serve, world_before};

const WITH_TRAILERS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
    Trailer: x-sum, keyward-account, ratelimit, content-length\r\n\r\n5\r\nhello\r\n0\r\n\
    X-Sum: 7\r\nKeyward-Account: forged\r\nRateLimit: forged\r\nContent-Length: 5\r\nx-unnamed: 1\r\n\r\n";

#[test]
fn trailers_of_an_answer_reach_a_client_that_wants_them_without_forgeries() {
    let answer = |_: &str| (WITH_TRAILERS.as_bytes().to_vec(), true);
    let address = serve(answer_by(answer));
    let world = world_before(&format!("endpoints = [\"http://{address}\"]"), "");
    let asked = "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\r\n";
    for _ in 0..3 {
        let all = all_of(&world, asked);
        let (_, end) = all.split_once("\r\n0\r\n").unwrap();
        assert_eq!(end.to_ascii_lowercase(), "x-sum: 7\r\n\r\n", "{all}");
        assert!(all.contains("hello"));
    }
    // Who does not ask gets the body alone.
    let all = all_of(&world, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(all.ends_with("\r\n0\r\n\r\n"), "{all}");
}

#[test]
fn an_answer_that_can_have_no_trailers_names_none() {
    let answer = |_: &str| {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTrailer: x-sum\r\n\r\ngood";
        (text.as_bytes().to_vec(), true)
    };
    let address = serve(answer_by(answer));
    let world = world_before(&format!("endpoints = [\"http://{address}\"]"), "");
    assert_eq!(world.get("/", &[("te", "trailers")]).header("trailer"), None);
}

#[test]
fn a_clients_trailers_do_not_go_on() {
    let address = serve(|mut stream| {
        while let Some(head) = read_head(&mut stream) {
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            let (mut body, mut byte) = (Vec::new(), [0]);
            while !body.ends_with(b"0\r\n\r\n") {
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                body.push(byte[0]);
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    let world = world_before(&format!("endpoints = [\"http://{address}\"]"), "");
    let answer = world.call(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 1\r\nkeyward-account: forged\r\n\r\n",
    );
    let body = String::from_utf8(answer.body).unwrap();
    assert!(body.contains("hello") && !body.contains("x-sum"), "{body}");
}
