//! Content codings and their negotiation (RFC 9110 §12.5.3).

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

use crate::message::media_type::{Weight, weighted};

/// A content coding that this server can produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them; of equally welcome ones the first wins: zstd and brotli make smaller bodies
    /// than gzip, zstd in less time.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Returns the coding's name in `content-encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// Returns the ending of a file's precompressed neighbour.
    pub fn file_ending(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    pub(super) fn header_value(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

/// What `accept-encoding` says of each coding, in thousandths; 0 means no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    weights: [Weight; Coding::ALL.len()],
    identity: Weight,
}

impl Accepted {
    /// Reads the fields of a request; no field at all accepts only the unchanged body.
    pub fn new(headers: &HeaderMap) -> Self {
        let mut accepted = Self {
            identity: 1,
            ..Self::default()
        };
        let mut lines = headers.get_all(ACCEPT_ENCODING).iter().peekable();
        if lines.peek().is_none() {
            return accepted;
        }
        let mut named = [None; Coding::ALL.len()];
        let (mut identity, mut star) = (None, None);
        let items = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(weighted);
        for (name, weight) in items.take(MAX_ITEMS) {
            let slot = match name {
                name if name.eq_ignore_ascii_case("identity") => &mut identity,
                "*" => &mut star,
                name => match Coding::ALL.iter().position(|coding| coding.is_named(name)) {
                    Some(index) => &mut named[index],
                    None => continue,
                },
            };
            slot.get_or_insert(weight);
        }
        for (slot, named) in accepted.weights.iter_mut().zip(named) {
            *slot = named.or(star).unwrap_or(0);
        }
        // Without a word about it the unchanged body is acceptable, though less than what is
        // asked for by name.
        accepted.identity = identity.unwrap_or(Weight::from(star != Some(0)));
        accepted
    }

    /// Says whether any coding is accepted at all.
    pub fn wants_coding(&self) -> bool {
        self.weights.iter().any(|weight| *weight > 0)
    }

    /// Picks the most welcome of the offered codings; `None` when the unchanged body is at least
    /// as welcome. A client that refuses even that gets it all the same (RFC 9110 §12.5.3 leaves
    /// 406 to us, and it helps nobody).
    pub fn best(&self, offered: impl Fn(Coding) -> bool) -> Option<Coding> {
        let mut best = None;
        let mut weight = self.identity.saturating_sub(1);
        for (coding, own) in Coding::ALL.into_iter().zip(self.weights) {
            if own > weight && offered(coding) {
                (best, weight) = (Some(coding), own);
            }
        }
        best
    }
}

impl Coding {
    fn is_named(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.as_str())
            || (self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip"))
    }
}

/// More items are not read: nobody has as many codings, and the list costs time.
const MAX_ITEMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_welcome_offered_coding_wins() {
        for (field, expected) in [
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("GZIP", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, br", Some(Coding::Brotli)),
            ("gzip;q=1.0, br;q=0.5", Some(Coding::Gzip)),
            ("br;q=0.001", Some(Coding::Brotli)),
            ("*", Some(Coding::Zstd)),
            ("zstd;q=0, *;q=0.5", Some(Coding::Brotli)),
            ("gzip;q=0, *;q=0", None),
            ("identity;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Coding::Gzip)),
            ("br;q=1.0001", None),
            ("br;q=1.001", None),
            ("br;q=.5", None),
            ("br;q=x", None),
            ("br ; Q = 0.5", Some(Coding::Brotli)),
            ("gzip;q=0, gzip;q=1", None),
            ("deflate", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(field).unwrap());
            let found = Accepted::new(&headers).best(|_| true);
            assert_eq!(found, expected, "{field:?}");
        }
        assert_eq!(Accepted::new(&HeaderMap::new()).best(|_| true), None);
    }

    #[test]
    fn a_coding_that_is_not_offered_is_not_picked() {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT_ENCODING,
            HeaderValue::from_static("zstd, gzip;q=0.1"),
        );
        let found = Accepted::new(&headers).best(|coding| coding == Coding::Gzip);
        assert_eq!(found, Some(Coding::Gzip));
    }
}
