//! Request ids: the client's where it is short and plain, else a new UUID of version 4.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};
use uuid::Builder;

/// The field that carries the id, both ways.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids are replaced: they end up in every log line.
const MAX_LENGTH: usize = 128;

/// Gives requests their ids.
///
/// New ones are a counter, started anywhere and mixed: unique in this process, as good as unique
/// among all, and no system call for each. They name requests and are no secret.
#[derive(Debug)]
pub(super) struct RequestIds {
    count: AtomicU64,
    high: u64,
    low: u64,
}

impl Default for RequestIds {
    fn default() -> Self {
        // The standard library's source of randomness: the keys of its hash maps.
        let seed = |word: u8| RandomState::new().hash_one(word);
        Self {
            count: AtomicU64::new(seed(0)),
            high: seed(1),
            low: seed(2),
        }
    }
}

impl RequestIds {
    /// Takes the request's own id or makes one.
    pub(super) fn assign(&self, headers: &HeaderMap) -> HeaderValue {
        let mut own = headers.get_all(X_REQUEST_ID).iter();
        match (own.next(), own.next()) {
            (Some(id), None) if is_plain(id) => id.clone(),
            _ => self.create(),
        }
    }

    fn create(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (mixed(count ^ self.high), mixed(count ^ self.low));
        let bits = u128::from(high) << 64 | u128::from(low);
        let id = Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_bytes(&text).expect("a UUID is hexadecimal digits and hyphens")
    }
}

/// The step of `SplitMix64`: each number gives another, and neighbours have nothing in common.
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Whether an id can stand in a log line or a shell command without harm.
fn is_plain(id: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
    (1..=MAX_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_over_only_when_it_is_short_and_plain() {
        let ids = RequestIds::default();
        let longest = "x".repeat(MAX_LENGTH);
        let too_long = "x".repeat(MAX_LENGTH + 1);
        for (sent, kept) in [
            ("trace-123", true),
            ("0af7651916cd43dd8448eb211c80319c", true),
            (longest.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("a b", false),
            ("a\tb", false),
            ("$(reboot)", false),
            ("\"><script>", false),
            ("caf\u{e9}", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                X_REQUEST_ID,
                HeaderValue::from_bytes(sent.as_bytes()).unwrap(),
            );
            assert_eq!(ids.assign(&headers) == sent, kept, "{sent:?}");
        }
    }

    #[test]
    fn two_ids_in_one_request_are_replaced() {
        let mut headers = HeaderMap::new();
        headers.append(X_REQUEST_ID, HeaderValue::from_static("a"));
        headers.append(X_REQUEST_ID, HeaderValue::from_static("b"));
        assert_eq!(RequestIds::default().assign(&headers).len(), 36);
    }

    #[test]
    fn new_ids_are_uuids_and_differ() {
        let ids = RequestIds::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = ids.create();
            let uuid = uuid::Uuid::parse_str(id.to_str().unwrap()).unwrap();
            assert_eq!(uuid.get_version_num(), 4);
            assert!(seen.insert(uuid));
        }
    }
}
