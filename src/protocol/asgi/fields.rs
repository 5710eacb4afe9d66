//! Header fields that an application sends, checked once while they are taken over (RFC 9110 §5).

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// Valid header fields, in the order in which they were pushed, repeated ones kept.
///
/// The fields that frame a message or manage its connection are the server's business and are
/// left out; what they wish for that the server can honour is kept beside the map.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    map: HeaderMap,
    content_length: Option<u64>,
    close: bool,
}

/// A header field that cannot be sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FieldError {
    /// The name is empty or has a byte that no name may have.
    #[error("expected a header name of token characters, got '{}'", .0.escape_ascii())]
    Name(Vec<u8>),
    /// The value has a control character; the value itself may be a secret and is not shown.
    #[error("expected a value without control characters for header '{0}', got one")]
    Value(HeaderName),
    /// The value is not one decimal number, or another length came before.
    #[error("expected one decimal content-length, got '{}'", .0.escape_ascii())]
    ContentLength(Vec<u8>),
    /// More fields than a header map can hold.
    #[error("expected at most 24576 header fields, got more")]
    TooMany,
    /// A field that has no business where it came.
    #[error("expected no '{name}' among the headers of {place}, got one")]
    Forbidden {
        /// The field's name.
        name: HeaderName,
        /// What the fields belong to.
        place: &'static str,
    },
}

impl Fields {
    /// Makes room for `fields` fields.
    pub fn with_capacity(fields: usize) -> Self {
        Self {
            map: HeaderMap::try_with_capacity(fields).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Checks and takes one field. A name's case is not significant; blanks around a value are
    /// not part of it.
    ///
    /// # Errors
    /// When name or value may not be sent, or `content-length` is not a single number.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        let name =
            HeaderName::from_bytes(name).map_err(|_| FieldError::Name(shortened(name).to_vec()))?;
        // RFC 9110 §5.5: surrounding blanks are no part of a value; HTTP/2 refuses them.
        let Ok(parsed) = HeaderValue::from_bytes(trim_blanks(value)) else {
            return Err(FieldError::Value(name));
        };
        if name == CONTENT_LENGTH {
            return self.declare_length(parsed);
        }
        if is_connection_specific(&name) {
            self.close |= name == CONNECTION && has_close(parsed.as_bytes());
            return Ok(());
        }
        self.map
            .try_append(name, parsed)
            .map_err(|_| FieldError::TooMany)?;
        Ok(())
    }

    /// Takes several fields.
    ///
    /// # Errors
    /// As [`Fields::push`], for the first field that cannot be sent.
    pub fn from_pairs<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, FieldError> {
        let pairs = pairs.into_iter();
        let mut fields = Self::with_capacity(pairs.size_hint().0);
        for (name, value) in pairs {
            fields.push(name.as_ref(), value.as_ref())?;
        }
        Ok(fields)
    }

    /// The declared `content-length`, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether a `connection: close` was among the fields.
    pub fn wants_close(&self) -> bool {
        self.close
    }

    /// The fields to send, a declared `content-length` included.
    pub fn map(&self) -> &HeaderMap {
        &self.map
    }

    /// Gives up the fields to send, a declared `content-length` included.
    pub fn into_map(self) -> HeaderMap {
        self.map
    }

    fn declare_length(&mut self, value: HeaderValue) -> Result<(), FieldError> {
        let length = decimal(value.as_bytes());
        let fits = length.is_some() && self.content_length.is_none_or(|one| Some(one) == length);
        if !fits {
            return Err(FieldError::ContentLength(
                shortened(value.as_bytes()).to_vec(),
            ));
        }
        if self.content_length.is_none() {
            self.content_length = length;
            self.map
                .try_append(CONTENT_LENGTH, value)
                .map_err(|_| FieldError::TooMany)?;
        }
        Ok(())
    }
}

/// RFC 9110 §7.6.1, RFC 9113 §8.2.2: fields that speak of one connection, not of the message.
fn is_connection_specific(name: &HeaderName) -> bool {
    *name == TRANSFER_ENCODING
        || *name == CONNECTION
        || *name == UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn has_close(value: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|token| trim_blanks(token).eq_ignore_ascii_case(b"close"))
}

/// A decimal number of digits only, unlike `str::parse`, which takes a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Enough of a wrong name or number to find it by in a log line.
fn shortened(bytes: &[u8]) -> &[u8] {
    const SHOWN_BYTES: usize = 64;
    &bytes[..bytes.len().min(SHOWN_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Fields, FieldError> {
        Fields::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn order_and_duplicates_are_kept_and_names_become_lower_case() {
        let fields = parse(&[
            ("X-B", "1"),
            ("Set-Cookie", "a=1"),
            ("x-a", "2"),
            ("set-cookie", "b=2"),
        ])
        .unwrap();
        let names: Vec<_> = fields.map().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-b", "set-cookie", "x-a"]);
        let cookies: Vec<_> = fields.map().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn connection_fields_are_left_out_and_close_is_remembered() {
        let fields = parse(&[
            ("Transfer-Encoding", "chunked"),
            ("Connection", "x, Close"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "h2c"),
            ("Proxy-Connection", "x"),
            ("x", "y"),
        ])
        .unwrap();
        assert_eq!(fields.map().len(), 1);
        assert!(fields.wants_close());
        assert!(
            !parse(&[("connection", "keep-alive")])
                .unwrap()
                .wants_close()
        );
    }

    #[test]
    fn fields_that_cannot_be_sent_are_refused() {
        let cases = [
            ("", "v"),
            ("a b", "v"),
            ("a:", "v"),
            (":status", "v"),
            ("a\r\n", "v"),
            ("é", "v"),
            ("a", "v\r\nx: y"),
            ("a", "v\n"),
            ("a", "v\0"),
            ("a", "\x7f"),
            ("content-length", "+3"),
            ("content-length", "-1"),
            ("content-length", ""),
            ("content-length", "3, 3"),
            ("content-length", "18446744073709551616"),
        ];
        for (name, value) in cases {
            assert!(parse(&[(name, value)]).is_err(), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn blanks_around_a_value_are_cut_and_8_bit_text_is_kept() {
        let mut fields = Fields::default();
        fields.push(b"a", b" \tb c\t ").unwrap();
        fields.push(b"d", b"caf\xe9").unwrap();
        assert_eq!(fields.map()["a"], "b c");
        assert_eq!(fields.map()["d"].as_bytes(), b"caf\xe9");
    }

    #[test]
    fn equal_lengths_become_one_and_different_ones_are_refused() {
        let fields = parse(&[("content-length", "3"), ("content-length", "3")]).unwrap();
        assert_eq!(fields.content_length(), Some(3));
        assert_eq!(fields.map().get_all(CONTENT_LENGTH).iter().count(), 1);
        assert!(parse(&[("content-length", "3"), ("content-length", "4")]).is_err());
    }

    #[test]
    fn more_fields_than_a_map_holds_are_an_error_not_a_panic() {
        let mut fields = Fields::default();
        let error = (0..40_000)
            .find_map(|number| fields.push(format!("x-{number}").as_bytes(), b"v").err());
        assert_eq!(error, Some(FieldError::TooMany));
    }
}
