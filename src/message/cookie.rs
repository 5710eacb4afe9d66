//! The cookies of a request (RFC 6265bis §5.8), read without ever failing.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;

/// The cookies of a request, read from its headers when asked.
#[derive(Clone, Copy, Debug)]
pub struct Cookies<'head> {
    headers: &'head HeaderMap,
}

impl<'head> Cookies<'head> {
    /// Returns the cookies of a request head.
    pub fn of(headers: &'head HeaderMap) -> Self {
        Self { headers }
    }

    /// Returns the value of a cookie.
    ///
    /// The first one wins: browsers send the most specific path first, so a later duplicate cannot
    /// shadow it.
    pub fn first(&self, name: &str) -> Option<Cow<'head, str>> {
        let (_, value) = self
            .raw_pairs()
            .find(|(found, _)| *found == name.as_bytes())?;
        Some(decode_value(value))
    }

    /// Returns every cookie in order, duplicates too, over all `cookie` headers.
    ///
    /// Pairs without `=` or without a name are skipped. Quotes around a value are taken off with
    /// their escapes; bytes that are not UTF-8 are read as Latin-1.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'head, str>, Cow<'head, str>)> + use<'head> {
        let pairs = self.raw_pairs();
        pairs.map(|(name, value)| (text_of(Cow::Borrowed(name)), decode_value(value)))
    }

    fn raw_pairs(self) -> impl Iterator<Item = (&'head [u8], &'head [u8])> + use<'head> {
        let headers = self.headers.get_all(COOKIE).iter();
        headers.flat_map(|header| {
            header
                .as_bytes()
                .split(|byte| *byte == b';')
                .filter_map(|pair| {
                    let equals = memchr::memchr(b'=', pair)?;
                    let name = pair[..equals].trim_ascii();
                    (!name.is_empty()).then(|| (name, pair[equals + 1..].trim_ascii()))
                })
        })
    }
}

fn decode_value(raw: &[u8]) -> Cow<'_, str> {
    match raw {
        [b'"', inner @ .., b'"'] => text_of(unescape(inner)),
        plain => text_of(Cow::Borrowed(plain)),
    }
}

/// Takes off the escapes of a quoted value: `\"` and `\054`.
fn unescape(inner: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [byte, after @ ..] = rest {
        let (plain_byte, after) = match (byte, after) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after),
            (b'\\', [escaped, after @ ..]) => (*escaped, after),
            (other, after) => (*other, after),
        };
        plain.push(plain_byte);
        rest = after;
    }
    Cow::Owned(plain)
}

fn text_of(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    let latin1 = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    match bytes {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(latin1(bytes)),
        },
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(latin1(error.as_bytes())),
        },
    }
}

#[cfg(test)]
mod tests;
