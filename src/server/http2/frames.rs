//! Where frames begin and end in a stream of bytes (RFC 9113 §4.1).

/// What an HTTP/2 client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;

/// Who sends the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The client, with its preface in front.
    FromClient,
    /// We.
    ToClient,
}

/// Follows the frames of one direction, in whatever pieces they come.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// Bytes of the current frame's payload that are still to come; `None` between frames.
    payload: Option<usize>,
}

/// Something that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A frame begins.
    Head {
        header: [u8; HEADER_BYTES],
        length: usize,
    },
    /// Some of its payload; once more with nothing for a frame without one.
    Payload { bytes: &'a [u8], is_last: bool },
}

impl Frames {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            preface: match direction {
                Direction::FromClient => PREFACE.len(),
                Direction::ToClient => 0,
            },
            header: [0; HEADER_BYTES],
            header_filled: 0,
            payload: None,
        }
    }

    /// Takes the next piece off `bytes`; `None` when they end before there is one.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Piece<'a>> {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        *bytes = &bytes[preface..];
        if let Some(missing) = self.payload {
            if missing > 0 && bytes.is_empty() {
                return None;
            }
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            *bytes = rest;
            let missing = missing - taken.len();
            self.payload = (missing > 0).then_some(missing);
            return Some(Piece::Payload {
                bytes: taken,
                is_last: missing == 0,
            });
        }
        let (taken, rest) = bytes.split_at((HEADER_BYTES - self.header_filled).min(bytes.len()));
        *bytes = rest;
        self.header[self.header_filled..][..taken.len()].copy_from_slice(taken);
        self.header_filled += taken.len();
        if self.header_filled < HEADER_BYTES {
            return None;
        }
        self.header_filled = 0;
        let [a, b, c, ..] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.payload = Some(length);
        Some(Piece::Head {
            header: self.header,
            length,
        })
    }

    /// Whether what has come so far ends with a whole frame.
    pub(super) fn is_between(&self) -> bool {
        self.preface == 0 && self.header_filled == 0 && self.payload.is_none()
    }
}
