//! The limit on request bodies: a declared length is judged before the body is read, an undeclared
//! one as it comes (RFC 9110 §15.5.14).

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

use crate::message::body::BodyError;

/// Counts a request body as it is read.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    limit: u64,
    remaining: u64,
}

impl BodyLimit {
    /// A filter that lets this many bytes through; `None` lets everything through.
    pub fn new(max_body_bytes: Option<u64>) -> Self {
        let limit = max_body_bytes.unwrap_or(u64::MAX);
        Self {
            limit,
            remaining: limit,
        }
    }

    /// Counts one piece of the body.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLarge`] when the body so far is longer than the limit; nothing of the piece
    /// may be used then.
    pub fn admit(&mut self, piece: &Bytes) -> Result<(), BodyError> {
        match self.remaining.checked_sub(piece.len() as u64) {
            Some(remaining) => {
                self.remaining = remaining;
                Ok(())
            }
            None => Err(BodyError::TooLarge { limit: self.limit }),
        }
    }
}

/// Says whether the declared length is over the limit.
pub(super) fn declared_too_large(headers: &HeaderMap, max_body_bytes: Option<u64>) -> Option<u64> {
    let limit = max_body_bytes?;
    let declared = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    // A number that does not fit is over any limit; other text was refused with the head.
    let is_over = declared.parse::<u64>().map_or_else(
        |_| declared.bytes().all(|byte| byte.is_ascii_digit()),
        |length| length > limit,
    );
    is_over.then_some(limit)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_declared_length_is_judged_by_the_limit() {
        for (declared, limit, expected) in [
            ("10", Some(10), None),
            ("11", Some(10), Some(10)),
            ("1", Some(0), Some(0)),
            ("0", Some(0), None),
            ("99999999999999999999999", Some(10), Some(10)),
            ("99999999999999999999999", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_str(declared).unwrap());
            assert_eq!(declared_too_large(&headers, limit), expected, "{declared}");
        }
        assert_eq!(declared_too_large(&HeaderMap::new(), Some(0)), None);
    }

    #[test]
    fn a_streamed_body_is_cut_by_the_piece_that_passes_the_limit() {
        let mut filter = BodyLimit::new(Some(5));
        assert_eq!(filter.admit(&Bytes::from_static(b"abc")), Ok(()));
        assert_eq!(filter.admit(&Bytes::from_static(b"de")), Ok(()));
        let over = filter.admit(&Bytes::from_static(b"f"));
        assert_eq!(over, Err(BodyError::TooLarge { limit: 5 }));
    }
}
