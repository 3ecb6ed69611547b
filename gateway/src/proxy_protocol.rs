//! The PROXY protocol, versions 1 and 2: how a load balancer in front tells whose connection it is.
//!
//! Read before anything else on a connection of a trusted proxy (the specification is HAProxy's `proxy-protocol.txt`, §2.1
//! and §2.2). Strict: what is not exactly a header ends the connection, for what follows could be anybody's words.
//! [`read`] is pure: it looks at the bytes that have come and says what they tell, that more must come, or that
//! they are none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 2 begins with (§2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, its line end included (§2.1).
const LONGEST_LINE: usize = 107;
/// The longest header of version 2 that is taken: addresses and what a balancer has to tell beside them.
pub const LONGEST: usize = 4_096;

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The proxy speaks for itself, or doesn't know: the connection is the proxy's own.
    Itself,
    /// Whose connection it is.
    Source(SocketAddr),
}

/// Bytes that are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol header: {0}")]
pub struct Malformed(&'static str);

/// What these first bytes of a connection tell, and how many of them the header is; `None` while it is not whole.
///
/// # Errors
/// When they can't be the beginning of a header.
pub fn read(bytes: &[u8]) -> Result<Option<(Told, usize)>, Malformed> {
    let begins = |with: &[u8]| {
        let length = with.len().min(bytes.len());
        bytes.get(..length) == with.get(..length)
    };
    if begins(b"PROXY ") {
        line(bytes)
    } else if begins(&SIGNATURE) {
        binary(bytes)
    } else {
        Err(Malformed("it begins otherwise"))
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`.
fn line(bytes: &[u8]) -> Result<Option<(Told, usize)>, Malformed> {
    let within = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_LINE {
            Ok(None)
        } else {
            Err(Malformed("the line is too long"))
        };
    };
    let text = within
        .get(..end)
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(Malformed("the line is no text"))?;
    let mut words = text.split(' ').skip(1);
    let told = match words.next() {
        Some("UNKNOWN") => Told::Itself,
        Some(family @ ("TCP4" | "TCP6")) => source(family, &mut words)?,
        _ => return Err(Malformed("the protocol is none of TCP4, TCP6 and UNKNOWN")),
    };
    Ok(Some((told, end + 2)))
}

fn source<'w>(family: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<Told, Malformed> {
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            _ => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        }
    };
    let addresses = (address(), address());
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let is_plain =
            word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        word.parse().ok().filter(|_| is_plain)
    };
    let ports = (port(), port());
    match (addresses, ports, words.next()) {
        ((Some(from), Some(_)), (Some(port), Some(_)), None) => Ok(Told::Source(SocketAddr::new(from, port))),
        _ => Err(Malformed("the line has not two addresses and two ports")),
    }
}

/// Signature, version and command, family, length, addresses, and values that are passed over.
fn binary(bytes: &[u8]) -> Result<Option<(Told, usize)>, Malformed> {
    let Some([command, family, high, low]) = bytes
        .get(SIGNATURE.len()..SIGNATURE.len() + 4)
        .and_then(|rest| <[u8; 4]>::try_from(rest).ok())
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let whole = SIGNATURE.len() + 4 + length;
    if whole > LONGEST {
        return Err(Malformed("it is too long"));
    }
    let speaks_for_itself = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("version or command is none that there is")),
    };
    let Some(addresses) = bytes.get(SIGNATURE.len() + 4..whole) else {
        return Ok(None);
    };
    let told = match family {
        _ if speaks_for_itself => Told::Itself,
        // Unspecified, and Unix sockets: nobody that has an address.
        0x00 | 0x31 => Told::Itself,
        0x11 => Told::Source(of_v4(addresses)?),
        0x21 => Told::Source(of_v6(addresses)?),
        _ => return Err(Malformed("the family is none of those that TCP has")),
    };
    Ok(Some((told, whole)))
}

const SHORT: Malformed = Malformed("the addresses are cut off");

fn of_v4(addresses: &[u8]) -> Result<SocketAddr, Malformed> {
    let parts: [u8; 12] = addresses
        .get(..12)
        .and_then(|parts| parts.try_into().ok())
        .ok_or(SHORT)?;
    let [a, b, c, d, _, _, _, _, high, low, _, _] = parts;
    let port = u16::from_be_bytes([high, low]);
    Ok(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)))
}

fn of_v6(addresses: &[u8]) -> Result<SocketAddr, Malformed> {
    let from: [u8; 16] = addresses
        .get(..16)
        .and_then(|parts| parts.try_into().ok())
        .ok_or(SHORT)?;
    let port: [u8; 2] = addresses
        .get(32..34)
        .and_then(|parts| parts.try_into().ok())
        .ok_or(SHORT)?;
    if addresses.len() < 36 {
        return Err(SHORT);
    }
    Ok(SocketAddr::from((Ipv6Addr::from(from), u16::from_be_bytes(port))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Result<Option<(Told, usize)>, Malformed> {
        read(text.as_bytes())
    }

    fn from(address: &str) -> Told {
        Told::Source(address.parse().unwrap())
    }

    /// A header of version 2.
    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn a_line_tells_whose_connection_it_is() {
        let v4 = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
        assert_eq!(told(v4), Ok(Some((from("192.0.2.1:56324"), v4.len()))));
        assert_eq!(
            told(&format!("{v4}GET / HTTP/1.1\r\n")),
            Ok(Some((from("192.0.2.1:56324"), v4.len())))
        );
        let v6 = "PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n";
        assert_eq!(told(v6), Ok(Some((from("[2001:db8::1]:0"), v6.len()))));
        for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f f:f 1 2\r\n"] {
            assert_eq!(told(unknown), Ok(Some((Told::Itself, unknown.len()))));
        }
    }

    #[test]
    fn what_is_nearly_a_line_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY\tTCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert!(told(bad).is_err(), "{bad:?}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
        assert!(told(&long).is_err());
    }

    #[test]
    fn a_binary_header_tells_whose_connection_it_is() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 187];
        let whole = version_2(0x21, 0x11, &v4);
        assert_eq!(read(&whole), Ok(Some((from("192.0.2.1:56324"), 28))));
        let with_values = version_2(0x21, 0x11, &[&v4[..], &[4, 0, 1, 9]].concat());
        assert_eq!(read(&with_values), Ok(Some((from("192.0.2.1:56324"), 32))));
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        v6[15] = 1;
        v6[33] = 80;
        assert_eq!(
            read(&version_2(0x21, 0x21, &v6)),
            Ok(Some((from("[2001:db8::1]:80"), 52)))
        );
        for itself in [
            version_2(0x20, 0x00, &[]),
            version_2(0x20, 0x11, &v4),
            version_2(0x21, 0x00, &[]),
            version_2(0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(read(&itself), Ok(Some((Told::Itself, itself.len()))));
        }
        for bad in [
            version_2(0x22, 0x11, &v4),
            version_2(0x11, 0x11, &v4),
            version_2(0x21, 0x12, &v4),
            version_2(0x21, 0x22, &v6),
            version_2(0x21, 0x11, &v4[..11]),
            version_2(0x21, 0x21, &v6[..35]),
            version_2(0x21, 0x11, &[0; 4_081]),
        ] {
            assert!(read(&bad).is_err());
        }
    }

    proptest! {
        /// However a header is cut, its beginning is neither refused nor taken for the whole.
        #[test]
        fn a_beginning_is_waited_for(
            from_address in any::<([u8; 4], u16)>(),
            values in prop::collection::vec(any::<u8>(), 0..40),
            is_line in any::<bool>(),
        ) {
            let (address, port) = from_address;
            let [a, b, c, d] = address;
            let whole = if is_line {
                format!("PROXY TCP4 {a}.{b}.{c}.{d} 10.0.0.1 {port} 1\r\n").into_bytes()
            } else {
                let [high, low] = port.to_be_bytes();
                let addresses = [a, b, c, d, 10, 0, 0, 1, high, low, 0, 1];
                version_2(0x21, 0x11, &[&addresses[..], &values].concat())
            };
            for cut in 0..whole.len() {
                prop_assert_eq!(read(&whole[..cut]), Ok(None));
            }
            let expected = Told::Source(SocketAddr::from((address, port)));
            prop_assert_eq!(read(&whole), Ok(Some((expected, whole.len()))));
        }

        #[test]
        fn no_bytes_make_it_panic_or_wait_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..6_000)) {
            for bytes in [bytes.clone(), [&SIGNATURE[..], &bytes].concat(), [&b"PROXY "[..], &bytes].concat()] {
                match read(&bytes) {
                    Ok(Some((_, used))) => prop_assert!(used <= bytes.len() && used <= LONGEST),
                    Ok(None) => prop_assert!(bytes.len() < LONGEST),
                    Err(_) => {}
                }
            }
        }
    }
}
