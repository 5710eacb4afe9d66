//! Tokens that have passed: the next request with the same one costs no cryptography.
//!
//! A slot holds a token whole, so another one, however alike, is none of ours. Signature, algorithm,
//! audience and issuer of a token cannot change; what depends on the time is judged each time
//! ([`Lifetime::judge`]). Keys and rules live as long as the cache does.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::jwt::Lifetime;

/// How many tokens are kept: about as many as clients that come again and again.
const SLOTS: usize = 1024;

/// Longer tokens are verified each time, so that the cache cannot grow beyond some megabytes.
const MAX_TOKEN_BYTES: usize = 2048;

/// The tokens of one policy.
pub(super) struct TokenCache {
    /// Keyed, so that nobody outside can aim at a slot.
    hasher: RandomState,
    slots: Mutex<Vec<Option<Passed>>>,
}

struct Passed {
    token: Box<str>,
    claims: Arc<Value>,
    lifetime: Lifetime,
}

impl TokenCache {
    /// Returns the claims of a token that has passed, and when it does so.
    pub(super) fn find(&self, token: &str) -> Option<(Arc<Value>, Lifetime)> {
        let index = self.index(token)?;
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = slots.get(index)?.as_ref()?;
        (*passed.token == *token).then(|| (Arc::clone(&passed.claims), passed.lifetime))
    }

    /// Keeps a token that has passed, in the place of another one.
    pub(super) fn keep(&self, token: &str, claims: &Arc<Value>, lifetime: Lifetime) {
        let Some(index) = self.index(token) else {
            return;
        };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() {
            slots.resize_with(SLOTS, || None);
        }
        slots[index] = Some(Passed {
            token: token.into(),
            claims: Arc::clone(claims),
            lifetime,
        });
    }

    fn index(&self, token: &str) -> Option<usize> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let slots = u64::try_from(SLOTS).expect("a small constant");
        usize::try_from(self.hasher.hash_one(token) % slots).ok()
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: Mutex::new(Vec::new()),
        }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_again_and_no_other_is() {
        let cache = TokenCache::default();
        let claims = Arc::new(Value::from(1));
        assert!(cache.find("token").is_none());
        cache.keep("token", &claims, Lifetime::default());
        assert_eq!(cache.find("token").map(|(found, _)| found), Some(claims));
        assert!(cache.find("toke").is_none() && cache.find("tokem").is_none());
    }

    #[test]
    fn any_number_of_tokens_fits_and_long_ones_do_not() {
        let cache = TokenCache::default();
        let claims = Arc::new(Value::from(1));
        for number in 0..10 * SLOTS {
            cache.keep(&format!("token {number}"), &claims, Lifetime::default());
        }
        assert!(Arc::strong_count(&claims) <= SLOTS + 1);
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        cache.keep(&long, &claims, Lifetime::default());
        assert!(cache.find(&long).is_none());
    }
}
