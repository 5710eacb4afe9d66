//! Messages on the wire: one byte of flag, four of length, the message.

use std::io::{Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::request::Encoding;
use super::status::{Code, Status};

const PREFIX_BYTES: usize = 5;

/// Decodes the messages of one direction of a call.
#[derive(Debug)]
pub struct Decoder {
    encoding: Encoding,
    max_message_bytes: usize,
    /// What has come and is not decoded.
    unread: Bytes,
}

impl Decoder {
    /// A decoder for messages of at most `max_message_bytes`, decompressed.
    pub fn new(encoding: Encoding, max_message_bytes: usize) -> Self {
        Self {
            encoding,
            max_message_bytes,
            unread: Bytes::new(),
        }
    }

    /// Takes the next piece of the body. [`Decoder::next_message`] until it has no more keeps what
    /// is held below one message and one piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.unread.is_empty() {
            self.unread = piece;
            return;
        }
        let unread = std::mem::take(&mut self.unread);
        let mut joined = unread
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        joined.extend_from_slice(&piece);
        self.unread = joined.freeze();
    }

    /// The next message that is complete.
    ///
    /// # Errors
    /// The status that ends the call: `INTERNAL` when the framing or the compression is broken,
    /// `RESOURCE_EXHAUSTED` as soon as a message is known to be over the limit.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, Status> {
        let [flag, length @ ..] = match self.unread.first_chunk::<PREFIX_BYTES>() {
            Some(prefix) => *prefix,
            // The flag is checked without waiting for the length.
            None => {
                return self
                    .unread
                    .first()
                    .map_or(Ok(None), |flag| self.check(*flag).and(Ok(None)));
            }
        };
        self.check(flag)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > self.max_message_bytes {
            return Err(too_large(self.max_message_bytes));
        }
        if self.unread.len() - PREFIX_BYTES < length {
            return Ok(None);
        }
        self.unread.advance(PREFIX_BYTES);
        let message = self.unread.split_to(length);
        if flag == 0 {
            Ok(Some(message))
        } else {
            self.inflate(&message).map(Some)
        }
    }

    /// Says that the body has ended.
    ///
    /// # Errors
    /// `INTERNAL` when a message was cut.
    pub fn finish(&self) -> Result<(), Status> {
        if self.unread.is_empty() {
            return Ok(());
        }
        Err(Status::new(
            Code::Internal,
            "the request ended inside a message",
        ))
    }

    fn check(&self, flag: u8) -> Result<(), Status> {
        match (flag, self.encoding) {
            (0, _) | (1, Encoding::Gzip) => Ok(()),
            (1, Encoding::Identity) => Err(Status::new(
                Code::Internal,
                "compressed message without grpc-encoding",
            )),
            _ => Err(Status::new(Code::Internal, "unknown flag before a message")),
        }
    }

    /// Stops one byte over the limit: what a bomb would still hold is never made.
    fn inflate(&self, message: &[u8]) -> Result<Bytes, Status> {
        let mut inflated = Vec::new();
        let limit = self.max_message_bytes as u64 + 1;
        GzDecoder::new(message)
            .take(limit)
            .read_to_end(&mut inflated)
            .map_err(|_| Status::new(Code::Internal, "a message is not valid gzip"))?;
        if inflated.len() > self.max_message_bytes {
            return Err(too_large(self.max_message_bytes));
        }
        Ok(inflated.into())
    }
}

/// Encodes a message: its prefix, and the message as it is or compressed.
///
/// # Errors
/// `RESOURCE_EXHAUSTED` when it is longer than `max_message_bytes` before compression.
pub fn encode(
    message: Bytes,
    encoding: Encoding,
    max_message_bytes: usize,
) -> Result<([u8; PREFIX_BYTES], Bytes), Status> {
    if message.len() > max_message_bytes {
        return Err(too_large(max_message_bytes));
    }
    let (flag, message) = match encoding {
        Encoding::Identity => (0, message),
        Encoding::Gzip => (1, deflate(&message)?),
    };
    let length = u32::try_from(message.len()).map_err(|_| too_large(u32::MAX as usize))?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok(([flag, a, b, c, d], message))
}

fn deflate(message: &[u8]) -> Result<Bytes, Status> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let deflated = encoder.write_all(message).and_then(|()| encoder.finish());
    deflated
        .map(Bytes::from)
        .map_err(|_| Status::new(Code::Internal, "compression failed"))
}

fn too_large(limit: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("a message is longer than {limit} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag][..], &length, message].concat()
    }

    fn gzip(message: &[u8]) -> Bytes {
        deflate(message).unwrap()
    }

    fn decode(encoding: Encoding, bytes: &[u8], size: usize) -> Result<Vec<Bytes>, Code> {
        let mut decoder = Decoder::new(encoding, 1000);
        let mut messages = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(message) = decoder.next_message().map_err(|status| status.code)? {
                messages.push(message);
            }
        }
        decoder.finish().map_err(|status| status.code)?;
        Ok(messages)
    }

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let long = vec![7; 1000];
        let bytes = [
            framed(0, b"one"),
            framed(0, b""),
            framed(1, &gzip(b"two")),
            framed(0, &long),
        ]
        .concat();
        for size in [1, 2, 5, 7, 500, bytes.len()] {
            let messages = decode(Encoding::Gzip, &bytes, size).unwrap();
            assert_eq!(
                messages,
                [&b"one"[..], b"", b"two", &long],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn broken_framing_ends_the_call() {
        let bomb = gzip(&vec![0; 10 << 20]);
        let at_limit = gzip(&[0; 1000]);
        let over = gzip(&[0; 1001]);
        let cut = &gzip(&[1; 500])[..12];
        let cases = [
            (
                "cut prefix",
                Encoding::Identity,
                vec![0, 0, 0],
                Err(Code::Internal),
            ),
            (
                "cut message",
                Encoding::Identity,
                framed(0, b"abc")[..7].into(),
                Err(Code::Internal),
            ),
            (
                "flag 2",
                Encoding::Gzip,
                framed(2, b"abc"),
                Err(Code::Internal),
            ),
            (
                "flag 255, alone",
                Encoding::Gzip,
                vec![255],
                Err(Code::Internal),
            ),
            (
                "no grpc-encoding",
                Encoding::Identity,
                framed(1, &at_limit),
                Err(Code::Internal),
            ),
            (
                "not gzip",
                Encoding::Gzip,
                framed(1, b"not gzip at all"),
                Err(Code::Internal),
            ),
            (
                "cut gzip",
                Encoding::Gzip,
                framed(1, cut),
                Err(Code::Internal),
            ),
            (
                "length over the limit, nothing of it",
                Encoding::Identity,
                vec![0, 0, 0, 3, 0xe9],
                Err(Code::ResourceExhausted),
            ),
            (
                "4 GiB",
                Encoding::Identity,
                vec![0, 255, 255, 255, 255],
                Err(Code::ResourceExhausted),
            ),
            (
                "inflates over",
                Encoding::Gzip,
                framed(1, &over),
                Err(Code::ResourceExhausted),
            ),
            (
                "at the limit",
                Encoding::Gzip,
                framed(1, &at_limit),
                Ok(vec![vec![0; 1000].into()]),
            ),
        ];
        for (name, encoding, bytes, expected) in cases {
            assert_eq!(decode(encoding, &bytes, 3), expected, "{name}");
        }
        let mut decoder = Decoder::new(Encoding::Gzip, 100_000);
        decoder.push(framed(1, &bomb).into());
        assert_eq!(
            decoder.next_message().unwrap_err().code,
            Code::ResourceExhausted
        );
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let piece = Bytes::from(framed(0, b"abc"));
        let mut decoder = Decoder::new(Encoding::Identity, 10);
        decoder.push(piece.clone());
        let message = decoder.next_message().unwrap().unwrap();
        assert_eq!(message.as_ptr(), piece[5..].as_ptr());
    }

    #[test]
    fn encoded_messages_decode() {
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let (prefix, message) = encode(Bytes::from_static(b"hello"), encoding, 5).unwrap();
            let bytes = [&prefix[..], &message].concat();
            assert_eq!(
                decode(encoding, &bytes, 100),
                Ok(vec![Bytes::from_static(b"hello")])
            );
            let error = encode(Bytes::from_static(b"hello!"), encoding, 5).unwrap_err();
            assert_eq!(error.code, Code::ResourceExhausted);
        }
    }
}
