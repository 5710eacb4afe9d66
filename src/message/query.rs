//! Query strings: pairs read straight from the raw text, in order, without building a map.
//!
//! `&` separates, `;` does not; the first `=` ends a name; a pair without `=` has an empty value;
//! empty pairs are skipped (WHATWG URL §5.1). Nested keys (`a[b]`) are plain names.

use std::borrow::Cow;

use super::percent::{self, DecodeError};

/// The most pairs a query or an urlencoded form may have: a parser must not be a way to make work
/// out of a small request (CVE-2026-54283).
pub const MAX_PAIRS: usize = 1_000;

/// A query that has been checked once, so that reading it cannot fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'raw> {
    raw: &'raw str,
}

/// A query that is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// More than [`MAX_PAIRS`] pairs.
    #[error("query has more than {MAX_PAIRS} pairs")]
    TooManyPairs,
    /// Text that cannot be decoded.
    #[error("query: {0}")]
    Decode(#[from] DecodeError),
}

impl<'raw> Query<'raw> {
    /// Checks a raw query (without the `?`).
    ///
    /// # Errors
    ///
    /// A [`QueryError`] for more than [`MAX_PAIRS`] pairs (empty ones count), a bad escape, a raw
    /// control or non-ASCII byte, or text that is not UTF-8 after decoding.
    pub fn parse(raw: &'raw str) -> Result<Self, QueryError> {
        check_pair_count(raw.as_bytes()).ok_or(QueryError::TooManyPairs)?;
        percent::refuse_raw_bytes(raw)?;
        check_escapes(raw)?;
        Ok(Self { raw })
    }

    /// Returns every pair, decoded, in order.
    pub fn pairs(&self) -> Pairs<'raw> {
        Pairs::of_checked(self.raw)
    }

    /// Returns every value of a name, in order.
    pub fn all<'name>(&self, name: &'name str) -> Values<'raw, 'name> {
        Values {
            pairs: RawPairs { rest: self.raw },
            name,
        }
    }
}

/// Decoded pairs of a checked query or form.
#[derive(Clone, Debug)]
pub struct Pairs<'raw> {
    raw: RawPairs<'raw>,
}

impl<'raw> Pairs<'raw> {
    pub(super) fn of_checked(text: &'raw str) -> Self {
        Self {
            raw: RawPairs { rest: text },
        }
    }
}

impl<'raw> Iterator for Pairs<'raw> {
    type Item = (Cow<'raw, str>, Cow<'raw, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.raw.next()?;
        Some((decode_checked(name), decode_checked(value)))
    }
}

/// Decoded values of one name.
#[derive(Clone, Debug)]
pub struct Values<'raw, 'name> {
    pairs: RawPairs<'raw>,
    name: &'name str,
}

impl<'raw> Iterator for Values<'raw, '_> {
    type Item = Cow<'raw, str>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.name;
        let (_, value) = self.pairs.find(|(raw, _)| decode_checked(raw) == name)?;
        Some(decode_checked(value))
    }
}

/// Pairs as they came.
#[derive(Clone, Debug)]
pub(super) struct RawPairs<'raw> {
    pub(super) rest: &'raw str,
}

impl<'raw> Iterator for RawPairs<'raw> {
    type Item = (&'raw str, &'raw str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let rest = self.rest;
            let end = memchr::memchr(b'&', rest.as_bytes());
            let pair = &rest[..end.unwrap_or(rest.len())];
            self.rest = end.map_or("", |end| &rest[end + 1..]);
            if !pair.is_empty() {
                return Some(pair.split_once('=').unwrap_or((pair, "")));
            }
        }
        None
    }
}

/// Returns `None` when there are too many pairs; stops looking as soon as that is known.
pub(super) fn check_pair_count(raw: &[u8]) -> Option<()> {
    let separators = memchr::memchr_iter(b'&', raw);
    (separators.take(MAX_PAIRS).count() < MAX_PAIRS).then_some(())
}

/// Decodes the text as a whole: separators are ASCII, so what holds for it holds for every part.
pub(super) fn check_escapes(raw: &str) -> Result<(), DecodeError> {
    if memchr::memchr(b'%', raw.as_bytes()).is_some() {
        percent::decode_form(raw)?;
    }
    Ok(())
}

fn decode_checked(raw: &str) -> Cow<'_, str> {
    percent::decode_form(raw).expect("every escape was checked by parse")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(raw: &str) -> Vec<(String, String)> {
        let pairs = Query::parse(raw).unwrap().pairs();
        pairs
            .map(|(n, v)| (n.into_owned(), v.into_owned()))
            .collect()
    }

    #[test]
    fn pairs_come_decoded_and_in_order() {
        for (raw, expected) in [
            ("", &[][..]),
            ("a=1", &[("a", "1")]),
            ("a=1&a=2", &[("a", "1"), ("a", "2")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=1", &[("", "1")]),
            ("&&a=1&", &[("a", "1")]),
            ("a=1;b=2", &[("a", "1;b=2")]),
            ("a=b=c", &[("a", "b=c")]),
            ("a[]=1&a[b]=2", &[("a[]", "1"), ("a[b]", "2")]),
            ("a+b=c%26d%3D%2B", &[("a b", "c&d=+")]),
            ("%61=%E2%82%AC", &[("a", "€")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(pairs(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_name_is_found_however_it_is_encoded() {
        let query = Query::parse("x=0&%61=1&a=2&b=3").unwrap();
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.all("c").next(), None);
    }

    #[test]
    fn a_query_is_checked_strictly() {
        for (raw, expected) in [
            ("a=%zz", DecodeError::BadEscape(2)),
            ("a=%ff", DecodeError::NotUtf8),
            // The halves of one character on both sides of a separator.
            ("a=%C3&%A9=1", DecodeError::NotUtf8),
            (
                "a=é",
                DecodeError::RawByte {
                    byte: 0xC3,
                    position: 2,
                },
            ),
        ] {
            let error = Query::parse(raw).unwrap_err();
            assert_eq!(error, QueryError::Decode(expected), "{raw}");
        }
    }

    #[test]
    fn more_than_a_thousand_pairs_are_an_error_empty_ones_too() {
        let exactly = vec!["a=1"; MAX_PAIRS].join("&");
        assert_eq!(pairs(&exactly).len(), MAX_PAIRS);
        for raw in [format!("{exactly}&a=1"), "&".repeat(30_000)] {
            assert_eq!(Query::parse(&raw).unwrap_err(), QueryError::TooManyPairs);
        }
    }
}
