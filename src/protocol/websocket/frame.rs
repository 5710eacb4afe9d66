//! Frames of a server (RFC 6455 §5): a decoder that takes bytes as they come, and an encoder.
//!
//! The decoder refuses a frame at the first byte that breaks a rule, holds no more than the
//! message under way, and asks for memory by what has been filled so far, so a length that is
//! only claimed costs nothing.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::close::{self, Close};
use super::utf8::{NotUtf8, Utf8};

/// A message or control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A text message; the bytes are valid UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A ping, to be answered with its payload.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// A close frame; [`close::NO_STATUS`] when it carried no code.
    Close(Close),
}

/// What a peer may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest message, all fragments together, in bytes.
    pub max_message_bytes: usize,
    /// The most frames in one message. A limit in bytes does not bound empty fragments.
    pub max_fragments: u32,
}

/// A rule that the peer broke.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// RFC 6455 §5.1: a client masks.
    #[error("expected a masked frame, got an unmasked one")]
    Unmasked,
    /// RFC 6455 §5.2: no extension was negotiated.
    #[error("expected reserved bits to be 0, got 1")]
    ReservedBits,
    /// RFC 6455 §5.2: opcodes 3 to 7 and 11 to 15 are reserved.
    #[error("expected a known opcode, got {0}")]
    Opcode(u8),
    /// RFC 6455 §5.5: control frames are whole.
    #[error("expected a whole control frame, got a fragment")]
    FragmentedControl,
    /// RFC 6455 §5.5: control frames are short.
    #[error("expected a control frame of at most 125 bytes, got a longer one")]
    LongControl,
    /// RFC 6455 §5.2: a length takes as few bytes as it can, and its first bit is 0.
    #[error("expected a length in its shortest form, got a longer one")]
    Length,
    /// RFC 6455 §5.4: a continuation without a beginning.
    #[error("expected a new message, got a continuation")]
    UnexpectedContinuation,
    /// RFC 6455 §5.4: a new message inside another.
    #[error("expected a continuation, got a new message")]
    ExpectedContinuation,
    /// RFC 6455 §5.5.1: a close frame is empty or has two bytes of code.
    #[error("expected a close code of two bytes, got one")]
    CloseLength,
    /// RFC 6455 §7.4: a code that may not travel.
    #[error("expected a close code that may be sent, got {0}")]
    CloseCode(u16),
    /// RFC 6455 §8.1: text is UTF-8, reasons too.
    #[error("expected UTF-8, got something else")]
    NotUtf8,
    /// Over [`Limits::max_message_bytes`].
    #[error("expected a message of at most {0} bytes, got a longer one")]
    MessageTooLong(usize),
    /// Over [`Limits::max_fragments`].
    #[error("expected a message of at most {0} fragments, got more")]
    TooManyFragments(u32),
}

impl Violation {
    /// The close that answers it.
    pub fn close(self) -> Close {
        match self {
            Self::NotUtf8 => Close::of(close::INVALID_DATA, "invalid UTF-8"),
            Self::MessageTooLong(_) => Close::of(close::TOO_BIG, "message too big"),
            Self::TooManyFragments(_) => Close::of(close::TOO_BIG, "too many fragments"),
            Self::Unmasked => Close::of(close::PROTOCOL_ERROR, "frame not masked"),
            Self::ReservedBits => Close::of(close::PROTOCOL_ERROR, "reserved bits set"),
            Self::Opcode(_) => Close::of(close::PROTOCOL_ERROR, "unknown opcode"),
            Self::FragmentedControl => Close::of(close::PROTOCOL_ERROR, "fragmented control frame"),
            Self::LongControl => Close::of(close::PROTOCOL_ERROR, "control frame too long"),
            Self::Length => Close::of(close::PROTOCOL_ERROR, "length not minimal"),
            Self::UnexpectedContinuation => {
                Close::of(close::PROTOCOL_ERROR, "unexpected continuation")
            }
            Self::ExpectedContinuation => Close::of(close::PROTOCOL_ERROR, "expected continuation"),
            Self::CloseLength | Self::CloseCode(_) => {
                Close::of(close::PROTOCOL_ERROR, "invalid close code")
            }
        }
    }
}

/// Decodes what a client sends.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    step: Step,
    /// The data message that waits for its next frame.
    message: Option<Message>,
}

#[derive(Debug)]
enum Step {
    Head(Head),
    /// The payload of a data frame, which goes to the message.
    Data(Payload, Fin, Message),
    /// The payload of a control frame, which may come between the fragments of a message.
    Control(Payload, Control, Vec<u8>),
}

/// The bytes of a frame's head so far.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    bytes: [u8; HEAD_BYTES],
    length: usize,
}

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_BYTES: usize = 14;

#[derive(Clone, Copy, Debug)]
struct Payload {
    mask: [u8; 4],
    remaining: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    Last,
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Close,
    Ping,
    Pong,
}

#[derive(Debug)]
struct Message {
    kind: Kind,
    data: Vec<u8>,
    fragments: u32,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text(Utf8),
    Binary,
}

impl Decoder {
    /// A decoder before the first frame.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            step: Step::Head(Head::default()),
            message: None,
        }
    }

    /// Takes bytes off the front of `input` until an item is complete; `None` when all are taken.
    ///
    /// # Errors
    /// At the first byte that breaks a rule. The decoder is not to be used afterwards.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        loop {
            let item = match &mut self.step {
                Step::Head(head) => {
                    let Some(next) = head.take(input)? else {
                        return Ok(None);
                    };
                    self.begin(next)?
                }
                Step::Data(payload, fin, message) => {
                    let piece = take_up_to(input, payload.remaining);
                    message.append(payload, piece)?;
                    if payload.remaining > 0 {
                        return Ok(None);
                    }
                    let (fin, message) = (*fin, message.take());
                    self.end_data(fin, message)?
                }
                Step::Control(payload, control, data) => {
                    payload.unmask_into(data, take_up_to(input, payload.remaining));
                    if payload.remaining > 0 {
                        return Ok(None);
                    }
                    let item = control.complete(std::mem::take(data).into())?;
                    self.step = Step::Head(Head::default());
                    Some(item)
                }
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    /// How many bytes are missing from the data frame under way; 0 between frames.
    pub fn missing(&self) -> usize {
        match &self.step {
            Step::Data(payload, ..) => payload.remaining,
            _ => 0,
        }
    }

    /// Goes from a complete head to the frame's payload, or past it when it has none.
    fn begin(&mut self, head: FrameHead) -> Result<Option<Item>, Violation> {
        let FrameHead {
            fin,
            opcode,
            length,
            mask,
        } = head;
        let control = match opcode {
            8 => Control::Close,
            9 => Control::Ping,
            10 => Control::Pong,
            _ => return self.begin_data(fin, opcode, length, mask),
        };
        // `Head::take` has checked that a control frame is short.
        let remaining = usize::try_from(length).unwrap_or(usize::MAX);
        if remaining == 0 {
            self.step = Step::Head(Head::default());
            return control.complete(Bytes::new()).map(Some);
        }
        let data = Vec::with_capacity(remaining);
        self.step = Step::Control(Payload { mask, remaining }, control, data);
        Ok(None)
    }

    fn begin_data(
        &mut self,
        fin: Fin,
        opcode: u8,
        length: u64,
        mask: [u8; 4],
    ) -> Result<Option<Item>, Violation> {
        let max = self.limits.max_message_bytes;
        let mut message = match (opcode, self.message.take()) {
            (0, None) => return Err(Violation::UnexpectedContinuation),
            (0, Some(message)) => message,
            (_, Some(_)) => return Err(Violation::ExpectedContinuation),
            (1, None) => Message::new(Kind::Text(Utf8::default())),
            (_, None) => Message::new(Kind::Binary),
        };
        let remaining = usize::try_from(length)
            .ok()
            .filter(|length| *length <= max.saturating_sub(message.data.len()))
            .ok_or(Violation::MessageTooLong(max))?;
        message.fragments += 1;
        if message.fragments > self.limits.max_fragments {
            return Err(Violation::TooManyFragments(self.limits.max_fragments));
        }
        if remaining == 0 {
            return self.end_data(fin, message);
        }
        self.step = Step::Data(Payload { mask, remaining }, fin, message);
        Ok(None)
    }

    fn end_data(&mut self, fin: Fin, message: Message) -> Result<Option<Item>, Violation> {
        self.step = Step::Head(Head::default());
        if fin == Fin::More {
            self.message = Some(message);
            return Ok(None);
        }
        let data = Bytes::from(message.data);
        Ok(Some(match message.kind {
            Kind::Binary => Item::Binary(data),
            Kind::Text(utf8) if utf8.is_complete() => Item::Text(data),
            Kind::Text(_) => return Err(Violation::NotUtf8),
        }))
    }
}

/// What a complete head says.
#[derive(Clone, Copy, Debug)]
struct FrameHead {
    fin: Fin,
    opcode: u8,
    length: u64,
    mask: [u8; 4],
}

impl Head {
    fn take(&mut self, input: &mut &[u8]) -> Result<Option<FrameHead>, Violation> {
        while let [next, rest @ ..] = *input {
            *input = rest;
            self.bytes[self.length] = *next;
            self.length += 1;
            match self.length {
                1 => check_first(*next)?,
                2 => self.check_second()?,
                _ => {}
            }
            if self.length >= 2 && self.length == self.expected() {
                return self.complete().map(Some);
            }
        }
        Ok(None)
    }

    fn check_second(&self) -> Result<(), Violation> {
        if self.bytes[1] & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        if is_control(self.bytes[0]) && self.bytes[1] & 0x7f > 125 {
            return Err(Violation::LongControl);
        }
        Ok(())
    }

    /// How many bytes the head has, as the second one tells.
    fn expected(&self) -> usize {
        match self.bytes[1] & 0x7f {
            126 => 8,
            127 => HEAD_BYTES,
            _ => 6,
        }
    }

    fn complete(&self) -> Result<FrameHead, Violation> {
        let (before_mask, mask) = self.bytes[..self.length].split_at(self.length - 4);
        let length = match &before_mask[2..] {
            [] => u64::from(self.bytes[1] & 0x7f),
            long => long
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let shortest = match length {
            0..=125 => 6,
            126..=0xffff => 8,
            _ => HEAD_BYTES,
        };
        if self.length != shortest || length >> 63 != 0 {
            return Err(Violation::Length);
        }
        Ok(FrameHead {
            fin: if self.bytes[0] & 0x80 == 0 {
                Fin::More
            } else {
                Fin::Last
            },
            opcode: self.bytes[0] & 0x0f,
            length,
            mask: [mask[0], mask[1], mask[2], mask[3]],
        })
    }
}

fn check_first(byte: u8) -> Result<(), Violation> {
    if byte & 0x70 != 0 {
        return Err(Violation::ReservedBits);
    }
    match byte & 0x0f {
        opcode @ (3..=7 | 11..) => Err(Violation::Opcode(opcode)),
        _ if is_control(byte) && byte & 0x80 == 0 => Err(Violation::FragmentedControl),
        _ => Ok(()),
    }
}

fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

impl Control {
    fn complete(self, payload: Bytes) -> Result<Item, Violation> {
        match self {
            Self::Ping => Ok(Item::Ping(payload)),
            Self::Pong => Ok(Item::Pong),
            Self::Close => match &payload[..] {
                [] => Ok(Item::Close(Close::of(close::NO_STATUS, ""))),
                [_] => Err(Violation::CloseLength),
                [high, low, reason @ ..] => {
                    let code = u16::from_be_bytes([*high, *low]);
                    if !close::may_travel(code) {
                        return Err(Violation::CloseCode(code));
                    }
                    let reason = std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
                    Ok(Item::Close(Close {
                        code,
                        reason: reason.into(),
                    }))
                }
            },
        }
    }
}

impl Message {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            data: Vec::new(),
            fragments: 0,
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(Kind::Binary))
    }

    fn append(&mut self, payload: &mut Payload, masked: &[u8]) -> Result<(), Violation> {
        /// What a frame's payload gets at once, in bytes; beyond it memory follows what came.
        const AT_ONCE_BYTES: usize = 4096;
        /// From this length on, in bytes, memory grows eightfold: an allocator may keep every
        /// earlier piece for a while, and what is not filled is not touched.
        const LONG_BYTES: usize = 256 * 1024;
        let start = self.data.len();
        if self.data.capacity() - start < masked.len() {
            let room = payload
                .remaining
                .min(AT_ONCE_BYTES.max(start))
                .max(masked.len());
            let room = if start < LONG_BYTES {
                room
            } else {
                room.max(7 * start)
            };
            self.data.reserve(room);
        }
        payload.unmask_into(&mut self.data, masked);
        match &mut self.kind {
            Kind::Binary => Ok(()),
            Kind::Text(utf8) => utf8
                .feed(&self.data[start..])
                .map_err(|NotUtf8| Violation::NotUtf8),
        }
    }
}

fn take_up_to<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    taken
}

impl Payload {
    /// Appends the next bytes of the payload without their mask (RFC 6455 §5.3), in one pass.
    fn unmask_into(&mut self, data: &mut Vec<u8>, masked: &[u8]) {
        /// The key is laid out once, so that the loop works on whole vectors.
        const LANE: usize = 128;
        let mut key = [[0; 4]; LANE / 4];
        key.fill(self.mask);
        let key = key.as_flattened();
        for lane in masked.chunks(LANE) {
            data.extend(lane.iter().zip(key).map(|(byte, key)| byte ^ key));
        }
        self.mask.rotate_left(masked.len() % 4);
        self.remaining -= masked.len();
    }
}

/// What a server's frame can be; it sends no fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A text message.
    Text = 1,
    /// A binary message.
    Binary = 2,
    /// A close frame.
    Close = 8,
    /// A ping.
    Ping = 9,
    /// A pong.
    Pong = 10,
}

/// Writes the head of a server's frame with a payload of `length` bytes.
pub fn encode_head(opcode: Opcode, length: usize, out: &mut BytesMut) {
    let first = 0x80 | opcode as u8;
    if let Ok(short) = u8::try_from(length)
        && short <= 125
    {
        out.extend_from_slice(&[first, short]);
    } else if let Ok(medium) = u16::try_from(length) {
        out.extend_from_slice(&[first, 126]);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.extend_from_slice(&[first, 127]);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
