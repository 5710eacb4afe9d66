//! The framing of a chunked body (RFC 9112 §7.1), byte by byte.

use http::StatusCode;

use super::head::is_token;

/// Bytes of the extensions of one chunk; nobody sends any, attackers send megabytes.
const MAX_CHUNK_EXTENSION: usize = 256;
/// Bytes of all trailer fields of one request.
const MAX_TRAILERS: usize = 8 * 1024;
/// Hex digits of a chunk size: 2^60 is enough for anybody.
const MAX_CHUNK_DIGITS: u8 = 15;

/// Where in a chunked body the stream stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunk {
    Size {
        digits: u8,
        size: u64,
    },
    SpaceAfterSize {
        size: u64,
    },
    Extension {
        size: u64,
        length: usize,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// In a trailer line (`length` bytes so far in all lines, `line` in this one).
    Trailer {
        length: usize,
        line: usize,
        colon: bool,
    },
    TrailerLf {
        length: usize,
        empty: bool,
    },
}

impl Chunk {
    /// Before the first chunk.
    pub(super) fn first() -> Self {
        Self::Size { digits: 0, size: 0 }
    }

    /// Takes bytes of a chunked body; returns how many, and whether the body has ended.
    pub(super) fn feed(&mut self, bytes: &[u8], strict: bool) -> Result<(usize, bool), StatusCode> {
        let mut at = 0;
        while at < bytes.len() {
            if let Self::Data { left } = self {
                let rest = bytes.len() - at;
                let used = rest.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= used as u64;
                at += used;
                if *left == 0 {
                    *self = Self::DataCr;
                }
                continue;
            }
            let end = self.step(bytes[at], strict)?;
            at += 1;
            if end {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Takes one byte outside of chunk data (RFC 9112 §7.1).
    fn step(&mut self, byte: u8, strict: bool) -> Result<bool, StatusCode> {
        let bad = Err(StatusCode::BAD_REQUEST);
        *self = match (*self, byte) {
            (Self::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_CHUNK_DIGITS {
                    return bad;
                }
                let digit = (byte as char).to_digit(16).expect("it is a hex digit");
                Self::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                }
            }
            (Self::Size { digits: 0, .. }, _) => return bad,
            (Self::Size { size, .. } | Self::SpaceAfterSize { size }, b' ' | b'\t') => {
                Self::SpaceAfterSize { size }
            }
            (Self::Size { size, .. } | Self::SpaceAfterSize { size }, b';') => {
                Self::Extension { size, length: 0 }
            }
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\r') => {
                Self::SizeLf { size }
            }
            (Self::Size { size, .. }, b'\n') if !strict => Self::behind_size(size),
            (Self::Extension { size, length }, _)
                if length < MAX_CHUNK_EXTENSION
                    && (byte >= b' ' || byte == b'\t')
                    && byte != 0x7f =>
            {
                Self::Extension {
                    size,
                    length: length + 1,
                }
            }
            (Self::SizeLf { size }, b'\n') => Self::behind_size(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::first(),
            (Self::DataCr, b'\n') if !strict => Self::first(),
            (
                Self::Trailer {
                    length,
                    line,
                    colon,
                },
                b'\r',
            ) => {
                if line > 0 && !colon {
                    return bad;
                }
                Self::TrailerLf {
                    length,
                    empty: line == 0,
                }
            }
            (
                Self::Trailer {
                    length,
                    line,
                    colon,
                },
                _,
            ) if length < MAX_TRAILERS && (byte >= b' ' || byte == b'\t') && byte != 0x7f => {
                let in_name = !colon && byte != b':';
                if (in_name && !is_token(byte)) || (line == 0 && byte == b':') {
                    return bad;
                }
                Self::Trailer {
                    length: length + 1,
                    line: line + 1,
                    colon: !in_name,
                }
            }
            (Self::TrailerLf { empty: true, .. }, b'\n') => return Ok(true),
            (
                Self::TrailerLf {
                    length,
                    empty: false,
                },
                b'\n',
            ) => Self::Trailer {
                length,
                line: 0,
                colon: false,
            },
            _ => return bad,
        };
        Ok(false)
    }

    fn behind_size(size: u64) -> Self {
        if size == 0 {
            Self::Trailer {
                length: 0,
                line: 0,
                colon: false,
            }
        } else {
            Self::Data { left: size }
        }
    }
}
