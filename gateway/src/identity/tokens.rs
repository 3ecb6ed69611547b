//! The signed identities that one worker has at hand.
//!
//! A token is handed on while half of its life is left, the records that it was made from say the same, and the clock
//! has not gone back before its making. There are two generations of at most `GENERATION` tokens: when the young one
//! is full it becomes the old one, and what was in the old one and not asked for since is gone. So memory is bounded,
//! a few megabytes at most, and nothing has to be swept. Cost: one look-up, a comparison of some 250 bytes, a count.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use keyward_contract::{KeyId, UnixMillis};
use rustc_hash::FxHashMap;

use super::{Signer, Unsigned, last_moment};
use crate::admission::Caller;

/// Tokens of one generation.
const GENERATION: usize = 2_048;

/// The tokens of one worker.
#[derive(Debug, Default)]
pub struct Tokens {
    kept: RefCell<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Who signed them: what another one signed is not handed on.
    signer: Option<Arc<Signer>>,
    young: FxHashMap<Whose, Rc<Token>>,
    old: FxHashMap<Whose, Rc<Token>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Whose {
    key: KeyId,
    customer_key: Option<KeyId>,
    upstream: usize,
}

#[derive(Debug)]
struct Token {
    value: HeaderValue,
    /// See [`said`].
    said: Box<[u8]>,
    made: UnixMillis,
    /// When the rights end that it was made from.
    rights_end: Option<UnixMillis>,
    /// Until when it is handed on.
    handed_on_until: UnixMillis,
}

/// The upstream that a token is for.
#[derive(Clone, Copy, Debug)]
pub struct For<'a> {
    /// Its place in the configuration.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
}

impl Tokens {
    /// The `Keyward-Identity` of a call.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn of(
        &self,
        signer: &Arc<Signer>,
        caller: &Caller,
        upstream: For<'_>,
        now: UnixMillis,
    ) -> Result<HeaderValue, Unsigned> {
        let whose = Whose {
            key: caller.key().record.id,
            customer_key: caller.customer_key().map(|key| key.record.id),
            upstream: upstream.index,
        };
        let audience = signer.audience(upstream.name);
        let mut kept = self.kept.borrow_mut();
        kept.follow(signer);
        if let Some(token) = kept.find(&whose)
            && token.holds(caller, audience, now)
        {
            return Ok(token.value.clone());
        }
        let (text, ends) = signer.sign(caller, audience, now)?;
        let value = HeaderValue::try_from(text).map_err(|_| Unsigned)?;
        kept.keep(
            whose,
            Token {
                value: value.clone(),
                said: said(caller, audience).concat().into(),
                made: now,
                rights_end: last_moment(caller),
                handed_on_until: UnixMillis(now.0.saturating_add(signer.lifetime_ms / 2).min(ends.0)),
            },
        );
        Ok(value)
    }
}

impl Kept {
    fn follow(&mut self, signer: &Arc<Signer>) {
        if !self
            .signer
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, signer))
        {
            *self = Self {
                signer: Some(Arc::clone(signer)),
                ..Self::default()
            };
        }
    }

    fn find(&mut self, whose: &Whose) -> Option<Rc<Token>> {
        if let Some(token) = self.young.get(whose) {
            return Some(Rc::clone(token));
        }
        let (whose, token) = self.old.remove_entry(whose)?;
        self.put(whose, Rc::clone(&token));
        Some(token)
    }

    fn keep(&mut self, whose: Whose, token: Token) {
        self.put(whose, Rc::new(token));
    }

    fn put(&mut self, whose: Whose, token: Rc<Token>) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&whose) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(whose, token);
    }
}

impl Token {
    fn holds(&self, caller: &Caller, audience: &str, now: UnixMillis) -> bool {
        let is_of_now = self.made <= now && now < self.handed_on_until;
        if !is_of_now || self.rights_end != last_moment(caller) {
            return false;
        }
        let mut rest = &*self.said;
        for part in said(caller, audience) {
            match rest.strip_prefix(part) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

/// What a token says, as bytes: the lines of the head that say the same, and for whom it is.
fn said<'a>(caller: &'a Caller, audience: &'a str) -> [&'a [u8]; 4] {
    [
        caller.policy().identity(caller.environment()),
        &caller.key().identity,
        caller.customer().map_or(&[], |customer| &*customer.identity),
        audience.as_bytes(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            value: HeaderValue::from_static("t"),
            said: Box::default(),
            made: UnixMillis(0),
            rights_end: None,
            handed_on_until: UnixMillis(1),
        }
    }

    fn whose() -> Whose {
        Whose {
            key: KeyId::new(),
            customer_key: None,
            upstream: 0,
        }
    }

    #[test]
    fn any_number_of_keys_takes_bounded_memory_and_what_is_asked_for_stays() {
        let mut kept = Kept::default();
        let busy = whose();
        kept.keep(busy, token());
        for number in 0..20_000 {
            kept.keep(whose(), token());
            assert!(kept.young.len() <= GENERATION && kept.old.len() <= GENERATION);
            // Once in a while is enough.
            if number % (GENERATION / 2) == 0 {
                assert!(kept.find(&busy).is_some(), "gone after {number}");
            }
        }
        let idle = whose();
        kept.keep(idle, token());
        for _ in 0..2 * GENERATION {
            kept.keep(whose(), token());
        }
        assert!(kept.find(&idle).is_none());
    }
}
