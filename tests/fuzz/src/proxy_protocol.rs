//! The PROXY protocol: a verdict comes with the byte that settles it, and no byte after it changes it.

use keyward_gateway::proxy_protocol::{LONGEST, Malformed, Told, read};

/// The longest header of version 1.
const LONGEST_LINE: usize = 107;

/// The first bytes of a connection.
pub fn check(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(LONGEST + 64)];
    let mut settled: Option<Result<(Told, usize), Malformed>> = None;
    for length in 0..=bytes.len() {
        let now = read(&bytes[..length]).transpose();
        match (&settled, &now) {
            (None, Some(Ok((_, taken)))) => assert_eq!(*taken, length, "it waited for more than the header"),
            (Some(before), _) => {
                // An error may get another name when more is known, and stays one.
                let is_same = match (before, &now) {
                    (Err(_), Some(Err(_))) => true,
                    (before, Some(now)) => before == now,
                    _ => false,
                };
                assert!(is_same, "{before:?} became {now:?} at {length}");
            }
            _ => {}
        }
        settled = now;
    }
    match settled {
        None => assert!(bytes.len() < LONGEST, "it waits without end"),
        Some(Err(_)) => {}
        Some(Ok((told, taken))) => {
            if bytes.starts_with(b"PROXY ") {
                assert!(taken <= LONGEST_LINE);
                assert_eq!(Some(told), of_line(&bytes[..taken]));
            } else {
                assert_eq!(
                    taken,
                    16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]))
                );
                assert!(matches!(told, Told::Itself) || bytes[12] == 0x21);
            }
        }
    }
}

fn of_line(line: &[u8]) -> Option<Told> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let words: Vec<&str> = line.split(' ').collect();
    if words.get(1) == Some(&"UNKNOWN") {
        return Some(Told::Itself);
    }
    let [_, family, from, to, from_port, to_port] = words.as_slice() else {
        return None;
    };
    let address = |text: &str| {
        let address: std::net::IpAddr = text.parse().ok()?;
        (address.is_ipv4() == (*family == "TCP4")).then_some(address)
    };
    // As a number is written, and no otherwise.
    let port = |text: &str| {
        let port: u16 = text.parse().ok()?;
        (port.to_string() == text).then_some(port)
    };
    address(to)?;
    port(to_port)?;
    Some(Told::Source((address(from)?, port(from_port)?).into()))
}
