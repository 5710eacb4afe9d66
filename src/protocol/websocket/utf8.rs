//! UTF-8 that arrives in pieces (RFC 6455 §8.1): the first wrong byte is found when it comes.

/// What is left of a character whose bytes have not all come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    pending: [u8; 4],
    length: usize,
}

/// The bytes so far cannot be the beginning of any UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotUtf8;

impl Utf8 {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), NotUtf8> {
        while let ([next, rest @ ..], true) = (bytes, self.length > 0) {
            self.pending[self.length] = *next;
            self.length += 1;
            bytes = rest;
            // Four bytes are always decided, so `pending` cannot overflow.
            match std::str::from_utf8(&self.pending[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(NotUtf8),
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let begun = &bytes[error.valid_up_to()..];
                self.pending[..begun.len()].copy_from_slice(begun);
                self.length = begun.len();
                Ok(())
            }
            Err(_) => Err(NotUtf8),
        }
    }

    /// Whether the text may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_valid_however_it_is_cut() {
        let text = "aé€😀\u{10ffff}z\u{7ff}\u{800}".as_bytes();
        for size in 1..=text.len() {
            let mut utf8 = Utf8::default();
            for piece in text.chunks(size) {
                assert_eq!(utf8.feed(piece), Ok(()), "pieces of {size}");
            }
            assert!(utf8.is_complete());
        }
    }

    #[test]
    fn the_first_wrong_byte_is_found_when_it_comes() {
        let cases: [(&[u8], usize); 8] = [
            (b"\xff", 0),
            (b"a\xfe", 1),
            (b"\xc0\xaf", 0),
            (b"\xed\xa0\x80", 1),
            (b"\xe0\x80\x80", 1),
            (b"\xf4\x90\x80\x80", 1),
            (b"\xf5\x80", 0),
            (b"\xe2\x82a", 2),
        ];
        for (bytes, wrong) in cases {
            let mut utf8 = Utf8::default();
            let found = bytes.iter().position(|byte| utf8.feed(&[*byte]).is_err());
            assert_eq!(found, Some(wrong), "{bytes:x?}");
            assert!(Utf8::default().feed(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn a_character_cut_short_is_not_complete() {
        let mut utf8 = Utf8::default();
        utf8.feed(b"a\xe2\x82").unwrap();
        assert!(!utf8.is_complete());
    }
}
