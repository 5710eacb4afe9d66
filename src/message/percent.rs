//! Percent-decoding, strict: path segments (RFC 3986 §2.1) and form or query text (where `+` is a
//! space, WHATWG URL §5.1). Borrows when there is nothing to decode.

use std::borrow::Cow;

/// Text that cannot be percent-decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A `%` that two hexadecimal digits do not follow.
    #[error("bad percent escape at byte {0}: expected two hexadecimal digits after '%'")]
    BadEscape(usize),
    /// A raw byte above 0x7E or below 0x21, which a request target never has (RFC 3986 §2).
    #[error("raw byte 0x{byte:02x} at byte {position}: expected it percent-encoded")]
    RawByte {
        /// The byte.
        byte: u8,
        /// Where it is.
        position: usize,
    },
    /// The decoded bytes are not UTF-8.
    #[error("decoded text is not UTF-8")]
    NotUtf8,
    /// A decoded NUL, which no file name and few databases can hold.
    #[error("decoded text has a NUL character")]
    Nul,
}

/// Decodes one segment, or the whole, of a path.
///
/// `+` stays as it is. The caller splits at `/` first: an encoded slash is text.
///
/// # Errors
///
/// A [`DecodeError`]: a bad escape, a raw non-ASCII or control byte, not UTF-8 after decoding, NUL.
pub fn decode_path(raw: &str) -> Result<Cow<'_, str>, DecodeError> {
    // Most are numbers and words.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_');
    if raw.bytes().all(is_plain) {
        return Ok(Cow::Borrowed(raw));
    }
    refuse_raw_bytes(raw)?;
    let decoded = decode(raw, Plus::Literal)?;
    if memchr::memchr(0, decoded.as_bytes()).is_some() {
        return Err(DecodeError::Nul);
    }
    Ok(decoded)
}

/// Decodes a name or value of a query or of an urlencoded form.
///
/// # Errors
///
/// A [`DecodeError`]: a bad escape, or not UTF-8 after decoding. NUL is text here.
pub fn decode_form(raw: &str) -> Result<Cow<'_, str>, DecodeError> {
    decode(raw, Plus::Space)
}

/// Refuses bytes that may only stand percent-encoded in a request target.
pub(super) fn refuse_raw_bytes(raw: &str) -> Result<(), DecodeError> {
    match raw.bytes().position(|byte| !byte.is_ascii_graphic()) {
        None => Ok(()),
        Some(position) => Err(DecodeError::RawByte {
            byte: raw.as_bytes()[position],
            position,
        }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Literal,
    Space,
}

fn decode(raw: &str, plus: Plus) -> Result<Cow<'_, str>, DecodeError> {
    let bytes = raw.as_bytes();
    let first = match plus {
        Plus::Literal => memchr::memchr(b'%', bytes),
        Plus::Space => memchr::memchr2(b'%', b'+', bytes),
    };
    let Some(first) = first else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut at = first;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let escape = bytes.get(at + 1..at + 3);
                decoded.push(escape.and_then(byte_of).ok_or(DecodeError::BadEscape(at))?);
                at += 3;
                continue;
            }
            b'+' if plus == Plus::Space => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| DecodeError::NotUtf8)
}

/// Returns the byte that the two hexadecimal digits of an escape stand for.
pub(crate) fn byte_of(escape: &[u8]) -> Option<u8> {
    let [high, low] = escape else { return None };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    Some(digit(*high)? << 4 | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_escapes_is_borrowed() {
        assert!(matches!(decode_path("/a+b;c"), Ok(Cow::Borrowed("/a+b;c"))));
        assert!(matches!(decode_form("a;b"), Ok(Cow::Borrowed("a;b"))));
    }

    #[test]
    fn a_path_is_decoded_strictly() {
        for (raw, expected) in [
            ("a%2Fb", Ok("a/b")),
            ("a%2fb", Ok("a/b")),
            ("a+b", Ok("a+b")),
            ("%E2%82%AC", Ok("€")),
            ("%252e", Ok("%2e")),
            ("%zz", Err(DecodeError::BadEscape(0))),
            ("a%1", Err(DecodeError::BadEscape(1))),
            ("a%", Err(DecodeError::BadEscape(1))),
            ("%+1", Err(DecodeError::BadEscape(0))),
            ("%c0%ae", Err(DecodeError::NotUtf8)),
            ("%ff", Err(DecodeError::NotUtf8)),
            ("%ed%a0%80", Err(DecodeError::NotUtf8)),
            ("a%00b", Err(DecodeError::Nul)),
            (
                "é",
                Err(DecodeError::RawByte {
                    byte: 0xC3,
                    position: 0,
                }),
            ),
            (
                "a b",
                Err(DecodeError::RawByte {
                    byte: b' ',
                    position: 1,
                }),
            ),
        ] {
            assert_eq!(
                decode_path(raw).as_deref(),
                expected.as_ref().copied(),
                "{raw}"
            );
        }
    }

    #[test]
    fn a_form_value_reads_plus_as_space_and_keeps_nul() {
        for (raw, expected) in [
            ("a+b", Ok("a b")),
            ("a%2Bb", Ok("a+b")),
            ("a%00b", Ok("a\0b")),
            ("+", Ok(" ")),
            ("100%", Err(DecodeError::BadEscape(3))),
            ("%ff", Err(DecodeError::NotUtf8)),
        ] {
            assert_eq!(
                decode_form(raw).as_deref(),
                expected.as_ref().copied(),
                "{raw}"
            );
        }
    }
}
