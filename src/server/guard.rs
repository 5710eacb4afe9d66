//! The HTTP/1 head guard: reads every byte before hyper does and refuses what two parsers could
//! read in two ways (RFC 9112 §11.2), and what is over the limits.
//!
//! How this works: the guard is a state machine over the byte stream of one connection. It finds
//! where each message begins and ends by itself, checks heads and chunk framing strictly, and says
//! how many bytes of a read may go on to the parser. It never changes a byte. After a refusal
//! nothing more of the connection is parsed, so bytes behind a bad message can never become a
//! request. hyper's parser still runs behind it and stays the authority for everything else.

mod chunk;
mod head;

use http::StatusCode;
use memchr::memchr;

use self::chunk::Chunk;
use self::head::Framing;
use super::limits::Limits;

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Guard {
    state: State,
    /// The head so far, when it came in more than one read.
    carry: Vec<u8>,
    /// Where in `carry` the line that is not complete begins.
    line_start: usize,
    /// Complete heads so far.
    heads: u64,
}

/// What to do with the bytes of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All may go on.
    Pass,
    /// The first `deliver` bytes may go on, they belong to earlier messages; then answer `status`
    /// and close.
    Refuse {
        /// Bytes of this read that come before the message at fault.
        deliver: usize,
        /// The answer: 4xx, 501 or 505.
        status: StatusCode,
        /// Whether the fault is in the body of a request that has already gone on.
        in_body: bool,
    },
}

#[derive(Debug)]
enum State {
    /// Between messages, or inside a head.
    Head,
    /// Inside a body of known length.
    Length(u64),
    /// Inside a chunked body.
    Chunked(Chunk),
    /// Behind a head that asks for an upgrade: what follows may not be HTTP at all.
    Held,
    /// A message was refused.
    Refused,
}

impl Guard {
    /// A guard at the beginning of a connection.
    pub fn new() -> Self {
        Self {
            state: State::Head,
            carry: Vec::new(),
            line_start: 0,
            heads: 0,
        }
    }

    /// How many complete heads went on so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the stream stands between two messages.
    pub fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Head) && self.carry.is_empty()
    }

    /// Whether a head has begun and is not complete.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.carry.is_empty()
    }

    /// Whether reading must wait until an upgrade is settled; see [`Guard::release`].
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// Goes on after an upgrade that did not happen.
    pub fn release(&mut self) {
        if self.is_held() {
            self.state = State::Head;
        }
    }

    /// Judges the bytes of one read.
    pub fn feed(&mut self, bytes: &[u8], limits: &Limits) -> Verdict {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head => match self.feed_head(rest, limits) {
                    Ok(Some(used)) => at += used,
                    Ok(None) => return Verdict::Pass,
                    Err(status) => {
                        self.state = State::Refused;
                        return Verdict::Refuse {
                            deliver: at,
                            status,
                            in_body: false,
                        };
                    }
                },
                State::Length(left) => {
                    let used = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= used as u64;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                    at += used;
                }
                State::Chunked(chunk) => {
                    let strict = limits.strict_http1;
                    match chunk.feed(rest, strict) {
                        Ok((used, end)) => {
                            at += used;
                            if end {
                                self.state = State::Head;
                            }
                        }
                        Err(status) => {
                            self.state = State::Refused;
                            return Verdict::Refuse {
                                deliver: at,
                                status,
                                in_body: true,
                            };
                        }
                    }
                }
                State::Held => return Verdict::Pass,
                State::Refused => {
                    return Verdict::Refuse {
                        deliver: 0,
                        status: StatusCode::BAD_REQUEST,
                        in_body: false,
                    };
                }
            }
        }
        Verdict::Pass
    }

    /// Takes bytes of a head; returns how many, once the head is complete.
    fn feed_head(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, StatusCode> {
        if self.carry.is_empty() {
            let skipped = leading_newlines(bytes);
            match head_end(bytes, skipped, 0) {
                End::At(end) => {
                    let framing = head::check(&bytes[skipped..end], limits)?;
                    self.state = State::behind(framing);
                    self.heads += 1;
                    return Ok(Some(end));
                }
                End::Open { line_start } => {
                    head::check_open(bytes, line_start, limits)?;
                    self.carry.extend_from_slice(bytes);
                    self.line_start = line_start;
                    return Ok(None);
                }
            }
        }
        let before = self.carry.len();
        self.carry.extend_from_slice(bytes);
        let skipped = leading_newlines(&self.carry);
        match head_end(&self.carry, skipped, self.line_start) {
            End::At(end) => {
                let framing = head::check(&self.carry[skipped..end], limits)?;
                self.state = State::behind(framing);
                self.heads += 1;
                self.carry = Vec::new();
                self.line_start = 0;
                Ok(Some(end - before))
            }
            End::Open { line_start } => {
                head::check_open(&self.carry, line_start, limits)?;
                self.line_start = line_start;
                Ok(None)
            }
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn behind(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Head,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::first()),
            Framing::Upgrade => Self::Held,
        }
    }
}

enum End {
    /// The head ends before this index.
    At(usize),
    /// The head is not complete; its last, open line begins here.
    Open { line_start: usize },
}

/// RFC 9112 §2.2: empty lines before a request line are skipped.
fn leading_newlines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len())
}

/// Finds the empty line that ends a head, looking from `line_start` on.
fn head_end(bytes: &[u8], skipped: usize, line_start: usize) -> End {
    let mut line_start = line_start.max(skipped);
    while let Some(length) = memchr(b'\n', &bytes[line_start..]) {
        let line = &bytes[line_start..line_start + length];
        let next = line_start + length + 1;
        if line.is_empty() || line == b"\r" {
            return End::At(next);
        }
        line_start = next;
    }
    End::Open { line_start }
}

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;
