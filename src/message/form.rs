//! Urlencoded forms (WHATWG URL §5.1): a whole body, with the same limits as a multipart form.

use std::str;

use http::StatusCode;

use super::percent::DecodeError;
use super::query::{self, MAX_PAIRS, Pairs, RawPairs};

/// The longest value of a form field, in decoded bytes.
pub const MAX_FIELD_BYTES: usize = 1024 * 1024;

/// An urlencoded body that has been checked once, so that reading it cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Form<'body> {
    text: &'body str,
}

/// A form that the client must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// More than [`MAX_PAIRS`] fields.
    #[error("form has more than {MAX_PAIRS} fields")]
    TooManyFields,
    /// A name or value above [`MAX_FIELD_BYTES`].
    #[error("form field is longer than {MAX_FIELD_BYTES} bytes")]
    FieldTooLong,
    /// The body itself is not UTF-8.
    #[error("form is not UTF-8")]
    NotUtf8,
    /// Text that cannot be decoded.
    #[error("form: {0}")]
    Decode(#[from] DecodeError),
}

impl FormError {
    /// Returns the status of the answer: 413 over a limit, else 400.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooManyFields | Self::FieldTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotUtf8 | Self::Decode(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl<'body> Form<'body> {
    /// Checks a body, in time proportional to its length.
    ///
    /// # Errors
    ///
    /// A [`FormError`]: over a limit, a bad escape, or not UTF-8.
    pub fn parse(body: &'body [u8]) -> Result<Self, FormError> {
        query::check_pair_count(body).ok_or(FormError::TooManyFields)?;
        let text = str::from_utf8(body).map_err(|_| FormError::NotUtf8)?;
        let mut fields = RawPairs { rest: text };
        if fields.any(|(name, value)| is_too_long(name) || is_too_long(value)) {
            return Err(FormError::FieldTooLong);
        }
        query::check_escapes(text)?;
        Ok(Self { text })
    }

    /// Returns every field, decoded, in order.
    pub fn fields(&self) -> Pairs<'body> {
        Pairs::of_checked(self.text)
    }
}

/// An escape is three bytes for one, so only a long raw text has its escapes counted.
fn is_too_long(raw: &str) -> bool {
    raw.len() > MAX_FIELD_BYTES
        && raw.len()
            - 2 * memchr::memchr_iter(b'%', raw.as_bytes())
                .count()
                .min(raw.len() / 3)
            > MAX_FIELD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_decoded_and_in_order() {
        let form =
            Form::parse("user-name=Jo+D&tags[]=a&tags[]=b&e=j%40x&raw=é".as_bytes()).unwrap();
        let fields: Vec<_> = form.fields().map(|(n, v)| format!("{n}:{v}")).collect();
        assert_eq!(
            fields,
            ["user-name:Jo D", "tags[]:a", "tags[]:b", "e:j@x", "raw:é"]
        );
    }

    #[test]
    fn a_wrong_form_has_its_status() {
        let long = format!("a={}", "x".repeat(5_000_000));
        let encoded_fits = format!("a={}", "%41".repeat(MAX_FIELD_BYTES));
        let encoded_long = format!("a={}", "%41".repeat(MAX_FIELD_BYTES + 1));
        let escapes = format!("a={}", "%".repeat(MAX_FIELD_BYTES * 2));
        for (body, expected) in [
            (
                "a=1&".repeat(100_000).as_bytes(),
                Some((FormError::TooManyFields, 413)),
            ),
            (
                "&".repeat(3_000_000).as_bytes(),
                Some((FormError::TooManyFields, 413)),
            ),
            (long.as_bytes(), Some((FormError::FieldTooLong, 413))),
            (encoded_fits.as_bytes(), None),
            (
                encoded_long.as_bytes(),
                Some((FormError::FieldTooLong, 413)),
            ),
            (
                escapes.as_bytes(),
                Some((DecodeError::BadEscape(2).into(), 400)),
            ),
            (b"a=\xff", Some((FormError::NotUtf8, 400))),
            (b"a=%ff", Some((DecodeError::NotUtf8.into(), 400))),
            (b"a=%4", Some((DecodeError::BadEscape(2).into(), 400))),
        ] {
            let found = Form::parse(body).err();
            let found = found.map(|error| (error, error.status().as_u16()));
            assert_eq!(found, expected);
        }
    }
}
