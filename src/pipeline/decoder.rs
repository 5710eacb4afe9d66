//! Incremental decoders of request bodies: coded bytes in, plain bytes out, never more than a piece
//! at a time, and never more than the bounds. Synchronous, so that every door can drive them.

use std::fmt;
use std::io::Write;

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use bytes::{Buf, Bytes};
use flate2::write::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder as ZstdDecoder, Operation};
use zstd::zstd_safe::DParameter;

use crate::message::body::BodyError;

/// A content coding that a request body may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950: "deflate" is that in zlib's format (RFC 9110 §8.4.1.2).
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl RequestCoding {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn is_named(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.as_str())
            || (self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip"))
    }
}

/// What a coded body may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many bytes one byte of the coded form may become, over all of the body so far.
    pub(super) ratio: u32,
    /// How many gzip members or zstd frames may follow one another.
    pub(super) members: u32,
}

/// A request body on its way out of its coding.
pub struct BodyIn {
    decoder: Decoder,
    bounds: Bounds,
    /// Of the coded form, what came and has not been looked at.
    input: Bytes,
    /// Whether the decoder filled its last piece, so that it may hold more.
    is_full: bool,
    /// Whether a member has begun and not ended.
    is_open: bool,
    members: u32,
    taken: u64,
    made: u64,
}

enum Decoder {
    Gzip(Box<GzDecoder<Vec<u8>>>),
    Deflate(Box<Decompress>),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(Box<ZstdDecoder<'static>>),
    /// Nothing more comes out; nothing may go in.
    Ended,
}

/// Plain bytes are handed on in pieces of at most this size.
const PIECE_BYTES: usize = 32 * 1024;

/// Up to this many bytes a body may grow whatever the ratio: a short one is no bomb.
const FREE_BYTES: u64 = 64 * 1024;

/// RFC 9659 §3: a decoder need not take frames with a larger window than 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

impl BodyIn {
    pub(super) fn new(coding: RequestCoding, bounds: Bounds) -> Self {
        Self {
            decoder: Decoder::new(coding),
            bounds,
            input: Bytes::new(),
            is_full: false,
            is_open: false,
            members: 0,
            taken: 0,
            made: 0,
        }
    }

    /// Takes in the next piece of the coded form; call it after `decoded` returned `None`.
    pub fn feed(&mut self, piece: Bytes) {
        self.input = piece;
    }

    /// Returns the next plain bytes, at most 32 KiB; `None` when it takes more of the coded form
    /// to go on.
    ///
    /// # Errors
    ///
    /// [`BodyError::Undecodable`] for bytes that are not the coding's, [`BodyError::Inflated`]
    /// for a body that grows beyond the bounds.
    pub fn decoded(&mut self) -> Result<Option<Bytes>, BodyError> {
        while !self.input.is_empty() || self.is_full {
            let piece = self.step()?;
            if let Some(piece) = self.counted(piece)? {
                return Ok(Some(piece));
            }
        }
        let rest = self.decoder.flush()?;
        self.counted(rest)
    }

    /// Returns what is left once the coded form has ended and `decoded` returned `None`; after
    /// that it returns `None`.
    ///
    /// # Errors
    ///
    /// [`BodyError::Undecodable`] when the coded form is not complete, else as
    /// [`BodyIn::decoded`].
    pub fn end(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.taken == 0 {
            return Ok(None); // no body at all
        }
        match std::mem::replace(&mut self.decoder, Decoder::Ended) {
            Decoder::Gzip(member) => {
                let rest = member.finish().map_err(undecodable)?;
                self.counted(rest)
            }
            Decoder::Ended => Ok(None),
            _ if self.is_open => Err(BodyError::Undecodable),
            _ => Ok(None),
        }
    }

    fn counted(&mut self, piece: Vec<u8>) -> Result<Option<Bytes>, BodyError> {
        self.made += piece.len() as u64;
        let allowed = self.taken.saturating_mul(u64::from(self.bounds.ratio));
        if self.made > allowed.max(FREE_BYTES) {
            let ratio = self.bounds.ratio;
            return Err(BodyError::Inflated { ratio });
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    fn step(&mut self) -> Result<Vec<u8>, BodyError> {
        if !self.is_open && !self.input.is_empty() {
            self.begin_member()?;
        }
        let step = self.decoder.step(&self.input)?;
        self.input.advance(step.consumed);
        self.taken += step.consumed as u64;
        // gzip's is flushed instead: it takes no input for the end of a member.
        self.is_full = step.piece.len() == PIECE_BYTES && !matches!(self.decoder, Decoder::Gzip(_));
        if step.is_ended {
            self.is_open = false;
            self.is_full = false;
        } else if step.consumed == 0 && step.piece.is_empty() && !self.input.is_empty() {
            return Err(BodyError::Undecodable); // it does not get on
        }
        Ok(step.piece)
    }

    fn begin_member(&mut self) -> Result<(), BodyError> {
        let may_follow = matches!(self.decoder, Decoder::Gzip(_) | Decoder::Zstd(_));
        if self.members == self.bounds.members || (self.members > 0 && !may_follow) {
            return Err(BodyError::Undecodable);
        }
        self.members += 1;
        self.is_open = true;
        Ok(())
    }
}

/// What came of looking at some input.
struct Step {
    consumed: usize,
    piece: Vec<u8>,
    /// Whether a member has ended here.
    is_ended: bool,
}

impl Decoder {
    fn new(coding: RequestCoding) -> Self {
        match coding {
            RequestCoding::Gzip => Self::Gzip(Box::new(GzDecoder::new(Vec::new()))),
            RequestCoding::Deflate => Self::Deflate(Box::new(Decompress::new(true))),
            // Strict: windows beyond RFC 7932's are another coding.
            RequestCoding::Brotli => Self::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            RequestCoding::Zstd => {
                let decoder = ZstdDecoder::new().and_then(|mut decoder| {
                    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
                    Ok(decoder)
                });
                decoder.map_or(Self::Ended, |decoder| Self::Zstd(Box::new(decoder)))
            }
        }
    }

    fn step(&mut self, input: &[u8]) -> Result<Step, BodyError> {
        match self {
            Self::Gzip(member) => {
                let consumed = member.write(input).map_err(undecodable)?;
                let mut piece = std::mem::take(member.get_mut());
                let is_ended = consumed == 0;
                if is_ended {
                    let next = Box::new(GzDecoder::new(Vec::new()));
                    let ended = std::mem::replace(member, next);
                    piece.extend(ended.finish().map_err(undecodable)?);
                }
                Ok(Step {
                    consumed,
                    piece,
                    is_ended,
                })
            }
            Self::Deflate(decoder) => {
                let (before, mut piece) = (decoder.total_in(), Vec::with_capacity(PIECE_BYTES));
                let status = decoder
                    .decompress_vec(input, &mut piece, FlushDecompress::None)
                    .map_err(|_| BodyError::Undecodable)?;
                let consumed = decoder.total_in() - before;
                Ok(Step {
                    consumed: usize::try_from(consumed).unwrap_or(input.len()),
                    piece,
                    is_ended: status == Status::StreamEnd,
                })
            }
            Self::Brotli(state) => {
                let mut piece = vec![0; PIECE_BYTES];
                let (mut left, mut consumed) = (input.len(), 0);
                let (mut room, mut written, mut total) = (piece.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut consumed,
                    input,
                    &mut room,
                    &mut written,
                    &mut piece,
                    &mut total,
                    state,
                );
                if let BrotliResult::ResultFailure = result {
                    return Err(BodyError::Undecodable);
                }
                piece.truncate(written);
                Ok(Step {
                    consumed,
                    piece,
                    is_ended: matches!(result, BrotliResult::ResultSuccess),
                })
            }
            Self::Zstd(decoder) => {
                let mut piece = vec![0; PIECE_BYTES];
                let status = decoder
                    .run_on_buffers(input, &mut piece)
                    .map_err(undecodable)?;
                piece.truncate(status.bytes_written);
                Ok(Step {
                    consumed: status.bytes_read,
                    piece,
                    is_ended: status.remaining == 0,
                })
            }
            Self::Ended => Err(BodyError::Undecodable),
        }
    }

    /// What is decoded and was held back. The others hold nothing back.
    fn flush(&mut self) -> Result<Vec<u8>, BodyError> {
        let Self::Gzip(member) = self else {
            return Ok(Vec::new());
        };
        if member.header().is_some() {
            member.flush().map_err(undecodable)?;
        }
        Ok(std::mem::take(member.get_mut()))
    }
}

fn undecodable(_: std::io::Error) -> BodyError {
    BodyError::Undecodable
}

impl fmt::Debug for BodyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyIn")
            .field("taken", &self.taken)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const CODINGS: [RequestCoding; 4] = [
        RequestCoding::Gzip,
        RequestCoding::Deflate,
        RequestCoding::Brotli,
        RequestCoding::Zstd,
    ];

    const BOUNDS: Bounds = Bounds {
        ratio: 100,
        members: 3,
    };

    fn encode(coding: RequestCoding, body: &[u8]) -> Vec<u8> {
        let mut coded = Vec::new();
        match coding {
            RequestCoding::Gzip => flate2::read::GzEncoder::new(body, flate2::Compression::best())
                .read_to_end(&mut coded),
            RequestCoding::Deflate => {
                flate2::read::ZlibEncoder::new(body, flate2::Compression::best())
                    .read_to_end(&mut coded)
            }
            RequestCoding::Brotli => {
                brotli::CompressorReader::new(body, 4096, 9, 22).read_to_end(&mut coded)
            }
            RequestCoding::Zstd => zstd::stream::read::Encoder::new(body, 9)
                .unwrap()
                .read_to_end(&mut coded),
        }
        .unwrap();
        coded
    }

    /// Decodes what comes in pieces of `size` bytes; also how many bytes came out at most at once.
    fn decode(
        coding: RequestCoding,
        bounds: Bounds,
        coded: &[u8],
        size: usize,
    ) -> Result<Vec<u8>, BodyError> {
        let mut body = BodyIn::new(coding, bounds);
        let mut plain = Vec::new();
        for piece in coded.chunks(size) {
            body.feed(Bytes::copy_from_slice(piece));
            while let Some(piece) = body.decoded()? {
                assert!(piece.len() <= 2 * PIECE_BYTES);
                plain.extend_from_slice(&piece);
            }
        }
        while let Some(piece) = body.decoded()? {
            plain.extend_from_slice(&piece);
        }
        if let Some(piece) = body.end()? {
            plain.extend_from_slice(&piece);
        }
        Ok(plain)
    }

    fn varied(size: usize) -> Vec<u8> {
        (0..size)
            .map(|n| u8::try_from((n * n / 7 + n / 300) % 256).unwrap())
            .collect()
    }

    #[test]
    fn a_body_comes_out_as_it_went_in_however_it_is_cut() {
        for coding in CODINGS {
            for plain in [&b""[..], b"short", &varied(500_000)] {
                let coded = encode(coding, plain);
                for size in [1, 7, 4096, usize::MAX] {
                    let found = decode(coding, BOUNDS, &coded, size.min(coded.len().max(1)));
                    assert_eq!(found.as_deref(), Ok(plain), "{coding:?} {size}");
                }
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_followed_by_something_else_does_not_decode() {
        for coding in CODINGS {
            let coded = encode(coding, &varied(100_000));
            for end in [1, coded.len() / 2, coded.len() - 1] {
                let found = decode(coding, BOUNDS, &coded[..end], 1000);
                assert_eq!(found, Err(BodyError::Undecodable), "{coding:?} {end}");
            }
            let trailing = [&coded[..], b"garbage"].concat();
            let found = decode(coding, BOUNDS, &trailing, 1000);
            assert_eq!(found, Err(BodyError::Undecodable), "{coding:?}");
            let found = decode(coding, BOUNDS, b"no such coding at all", 1000);
            assert_eq!(found, Err(BodyError::Undecodable), "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_ratio() {
        let zeros = vec![0; 16 << 20];
        for coding in CODINGS {
            let coded = encode(coding, &zeros);
            for size in [100, coded.len()] {
                let found = decode(coding, BOUNDS, &coded, size);
                assert_eq!(found, Err(BodyError::Inflated { ratio: 100 }), "{coding:?}");
            }
            let small = encode(coding, &zeros[..60_000]);
            assert_eq!(decode(coding, BOUNDS, &small, 100).unwrap().len(), 60_000);
        }
    }

    #[test]
    fn members_follow_one_another_up_to_the_bound() {
        for coding in [RequestCoding::Gzip, RequestCoding::Zstd] {
            let member = encode(coding, b"again ");
            for (count, expected) in [(3, Ok(b"again again again ".to_vec())), (4, Err(()))] {
                let coded = member.repeat(count);
                for size in [1, 1000] {
                    let found = decode(coding, BOUNDS, &coded, size).map_err(|_| ());
                    assert_eq!(found, expected, "{coding:?} {count} {size}");
                }
            }
        }
        for coding in [RequestCoding::Deflate, RequestCoding::Brotli] {
            let coded = encode(coding, b"again ").repeat(2);
            let found = decode(coding, BOUNDS, &coded, 1000);
            assert_eq!(found, Err(BodyError::Undecodable));
        }
    }

    #[test]
    fn a_frame_with_a_window_beyond_8_mib_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&varied(1000)).unwrap();
        let coded = encoder.finish().unwrap();
        let found = decode(RequestCoding::Zstd, BOUNDS, &coded, 1000);
        assert_eq!(found, Err(BodyError::Undecodable));
    }
}
