//! Incremental encoders: bytes of a body in, bytes of its coded form out, nothing held back longer
//! than asked. Synchronous, so that every door can drive them.

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;

use super::coding::Coding;

/// A body on its way through a coding.
pub struct BodyOut {
    encoder: Encoder,
}

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    Ended,
}

/// The window of streamed brotli, as a power of two: 512 KiB, so that many streams at once do not
/// take 4 MiB each.
const BROTLI_STREAM_WINDOW: u32 = 19;

/// What brotli collects before it looks at it.
const BROTLI_BUFFER_BYTES: usize = 4096;

impl BodyOut {
    /// An encoder; `quality` from 0 to 11 is clamped to the coding's range.
    pub(super) fn new(coding: Coding, quality: u8) -> Self {
        let encoder = match coding {
            Coding::Zstd => zstd::stream::write::Encoder::new(Vec::new(), zstd_level(quality))
                .map_or(Encoder::Ended, Encoder::Zstd),
            Coding::Brotli => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER_BYTES,
                brotli_quality(quality),
                BROTLI_STREAM_WINDOW,
            ))),
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), gzip_level(quality))),
        };
        Self { encoder }
    }

    /// Encodes a piece of the body and returns all of it that a decoder needs to see the piece.
    ///
    /// # Errors
    ///
    /// The coding library's, which means that the response must be cut.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        let coded = match &mut self.encoder {
            Encoder::Zstd(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Encoder::Brotli(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Encoder::Gzip(encoder) => {
                encoder.write_all(piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Encoder::Ended => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        Ok(coded.into())
    }

    /// Ends the body and returns what is left of its coded form.
    ///
    /// # Errors
    ///
    /// As [`BodyOut::push`].
    pub fn finish(&mut self) -> io::Result<Bytes> {
        let coded = match std::mem::replace(&mut self.encoder, Encoder::Ended) {
            Encoder::Zstd(encoder) => encoder.finish()?,
            Encoder::Brotli(encoder) => encoder.into_inner(),
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Ended => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        Ok(coded.into())
    }
}

/// Encodes a whole body at once.
pub(super) fn encode(coding: Coding, quality: u8, body: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Zstd => zstd::bulk::compress(body, zstd_level(quality)),
        Coding::Brotli => {
            let mut coded = Vec::with_capacity(body.len() / 2);
            let params = brotli::enc::BrotliEncoderParams {
                quality: i32::try_from(brotli_quality(quality)).unwrap_or_default(),
                size_hint: body.len(),
                ..Default::default()
            };
            brotli::BrotliCompress(&mut io::Cursor::new(body), &mut coded, &params)?;
            Ok(coded)
        }
        Coding::Gzip => {
            let coded = Vec::with_capacity(body.len() / 2);
            let mut encoder = GzEncoder::new(coded, gzip_level(quality));
            encoder.write_all(body)?;
            encoder.finish()
        }
    }
}

/// Zstandard's levels go to 22; 0 would mean "the default".
fn zstd_level(quality: u8) -> i32 {
    i32::from(quality.clamp(1, 22))
}

fn brotli_quality(quality: u8) -> u32 {
    u32::from(quality.min(11))
}

/// 0 would mean "do not compress".
fn gzip_level(quality: u8) -> flate2::Compression {
    flate2::Compression::new(u32::from(quality.clamp(1, 9)))
}

impl fmt::Debug for BodyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.encoder {
            Encoder::Zstd(_) => "BodyOut(zstd)",
            Encoder::Brotli(_) => "BodyOut(br)",
            Encoder::Gzip(_) => "BodyOut(gzip)",
            Encoder::Ended => "BodyOut(ended)",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use super::*;

    /// Decodes a whole or partial coded body as far as it goes.
    pub(crate) fn decode(coding: Coding, coded: &[u8]) -> Vec<u8> {
        let mut decoder: Box<dyn Read + '_> = match coding {
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(coded).unwrap()),
            Coding::Brotli => Box::new(brotli::Decompressor::new(coded, 4096)),
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(coded)),
        };
        let mut body = Vec::new();
        let mut piece = [0; 512];
        while let Ok(read @ 1..) = decoder.read(&mut piece) {
            body.extend_from_slice(&piece[..read]);
        }
        body
    }

    #[test]
    fn every_pushed_piece_can_be_decoded_before_the_next_one() {
        for coding in Coding::ALL {
            for quality in [0, 6, 11] {
                let mut encoder = BodyOut::new(coding, quality);
                let (mut coded, mut plain) = (Vec::new(), Vec::new());
                for index in 0..20 {
                    let event = format!("data: event number {index}\n\n");
                    plain.extend_from_slice(event.as_bytes());
                    coded.extend_from_slice(&encoder.push(event.as_bytes()).unwrap());
                    assert_eq!(
                        decode(coding, &coded),
                        plain,
                        "{coding:?} {quality} {index}"
                    );
                }
                coded.extend_from_slice(&encoder.finish().unwrap());
                assert_eq!(decode(coding, &coded), plain);
            }
        }
    }

    #[test]
    fn a_whole_body_comes_back_and_is_smaller() {
        let body = b"the same again and ".repeat(500);
        for coding in Coding::ALL {
            let coded = encode(coding, 6, &body).unwrap();
            assert!(coded.len() < body.len() / 10);
            assert_eq!(decode(coding, &coded), body, "{coding:?}");
        }
    }
}
