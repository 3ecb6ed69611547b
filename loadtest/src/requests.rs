//! The requests of a load: rendered before it begins, so that sending one costs a copy to the kernel.

use std::sync::atomic::{AtomicUsize, Ordering};

use keyward_contract::{Environment, KeyKind, PlainKey};

use crate::random::Random;

/// The keys of one caller.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Sent as `X-Api-Key`.
    pub account_key: Option<String>,
    /// Sent as `X-Customer-Key`.
    pub customer_key: Option<String>,
}

impl Credentials {
    /// Keys that are well-formed and that nobody was ever given.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn unknown() -> anyhow::Result<Self> {
        let mint = |kind| PlainKey::mint(kind, Environment::Production).map(|key| key.expose().to_owned());
        Ok(Self {
            account_key: Some(mint(KeyKind::Account)?),
            customer_key: Some(mint(KeyKind::Customer)?),
        })
    }
}

/// In which order requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drawn at random, until the time is over.
    Random,
    /// Each once, one after the other, and then no more.
    EachOnce,
}

/// Rendered requests.
pub struct Requests {
    text: Vec<u8>,
    ends: Vec<usize>,
    order: Order,
    sent: AtomicUsize,
}

impl Requests {
    /// One `GET` of `path` for each of these credentials.
    pub fn render(path: &str, order: Order, credentials: impl IntoIterator<Item = Credentials>) -> Self {
        let mut text = Vec::new();
        let mut ends = Vec::new();
        for credentials in credentials {
            text.extend_from_slice(b"GET ");
            text.extend_from_slice(path.as_bytes());
            text.extend_from_slice(b" HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\n");
            header(&mut text, b"X-Api-Key: ", credentials.account_key.as_deref());
            header(
                &mut text,
                b"X-Customer-Key: ",
                credentials.customer_key.as_deref(),
            );
            text.extend_from_slice(b"\r\n");
            ends.push(text.len());
        }
        Self {
            text,
            ends,
            order,
            sent: AtomicUsize::new(0),
        }
    }

    /// Whole requests, as they are to be sent.
    pub fn of(requests: impl IntoIterator<Item = impl AsRef<str>>, order: Order) -> Self {
        let mut text = Vec::new();
        let mut ends = Vec::new();
        for request in requests {
            text.extend_from_slice(request.as_ref().as_bytes());
            ends.push(text.len());
        }
        Self {
            text,
            ends,
            order,
            sent: AtomicUsize::new(0),
        }
    }

    /// How many different ones there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The next one to send; `None` when there are no more.
    pub fn next(&self, random: &mut Random) -> Option<&[u8]> {
        let index = match self.order {
            Order::Random => random.below(self.len()),
            Order::EachOnce => self.sent.fetch_add(1, Ordering::Relaxed),
        };
        self.at(index)
    }

    /// The one with this number.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end)
    }
}

fn header(text: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        text.extend_from_slice(name);
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn numbered(count: usize) -> impl Iterator<Item = Credentials> {
        (0..count).map(|number| Credentials {
            account_key: Some(format!("pk{number}")),
            customer_key: None,
        })
    }

    #[test]
    fn a_request_carries_the_keys_it_was_made_for() {
        let both = Credentials {
            account_key: Some("a".to_owned()),
            customer_key: Some("b".to_owned()),
        };
        let requests = Requests::render("/x", Order::Random, [both]);
        let text = requests.next(&mut Random::new(0)).unwrap();
        let expected = "GET /x HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\nX-Api-Key: a\r\n\
                        X-Customer-Key: b\r\n\r\n";
        assert_eq!(text, expected.as_bytes());
    }

    #[test]
    fn each_once_is_each_once() {
        let requests = Requests::render("/", Order::EachOnce, numbered(100));
        let mut random = Random::new(0);
        let seen: HashSet<_> = std::iter::from_fn(|| requests.next(&mut random)).collect();
        assert_eq!(seen.len(), 100);
        assert!(requests.next(&mut random).is_none());
    }

    #[test]
    fn random_order_reaches_every_request() {
        let requests = Requests::render("/", Order::Random, numbered(100));
        let mut random = Random::new(0);
        let seen: HashSet<_> = (0..5_000).filter_map(|_| requests.next(&mut random)).collect();
        assert_eq!(seen.len(), 100);
    }
}
