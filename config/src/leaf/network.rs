//! Addresses to listen on and blocks of addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::leaf::{Text, short, text};

/// Where to listen: an address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Address {
    pub(crate) const fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port))
    }

    pub(crate) const fn everywhere(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), port))
    }
}

impl Text for Address {
    const EXPECTED: &'static str = "an address and a port, such as \"127.0.0.1:8080\"";

    fn of_number(number: u64) -> Result<Self, String> {
        Err(match u16::try_from(number) {
            Ok(port) => format!("{port} is a port alone; write an address too, such as \"127.0.0.1:{port}\""),
            Err(_) => format!("{number} is no address; write {}", Self::EXPECTED),
        })
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let text = short(text);
        let port = text
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()));
        Err(match port {
            Some(("", Ok(port))) => {
                format!("\"{text}\" has no address; write \"0.0.0.0:{port}\" or \"127.0.0.1:{port}\"")
            }
            Some(("localhost", Ok(port))) => {
                format!("\"{text}\" names a machine; write its address, \"127.0.0.1:{port}\"")
            }
            Some((host, Ok(port))) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
                format!("\"{text}\" lacks brackets; write \"[{host}]:{port}\"")
            }
            _ => format!("\"{text}\" is no address with a port; write one such as \"127.0.0.1:8080\""),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text!(
    Address,
    "^(\\[[0-9A-Fa-f:.%]+\\]|[0-9.]+):[0-9]{1,5}$",
    "127.0.0.1:8080"
);

/// A block of addresses; a single address is a block of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block(pub(crate) IpNet);

impl Text for Block {
    const EXPECTED: &'static str = "a block of addresses such as \"10.0.0.0/8\"";
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address)));
        }
        let block: IpNet = text.parse().map_err(|_| {
            format!(
                "\"{}\" is no block of addresses; write one such as \"10.0.0.0/8\"",
                short(text)
            )
        })?;
        if block.trunc() == block {
            return Ok(Self(block));
        }
        Err(format!(
            "\"{block}\" has bits beyond its length; write \"{}\" for the block or \"{}\" for the address",
            block.trunc(),
            block.addr()
        ))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text!(Block, "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", "10.0.0.0/8");
