//! The HTTP/1 head guard: reads every byte before hyper does and refuses what two parsers could
//! read in two ways (RFC 9112 §11.2), and what is over the limits.
//!
//! How this works: the guard is a state machine over the byte stream of one connection. It finds
//! where each message begins and ends by itself, checks heads and chunk framing strictly, and says
//! how many bytes of a read may go on to the parser. It never changes a byte. After a refusal
//! nothing more of the connection is parsed, so bytes behind a bad message can never become a
//! request. hyper's parser still runs behind it and stays the authority for everything else.

use http::StatusCode;
use memchr::memchr;

use super::limits::Limits;

/// Bytes of a method; none that is registered is longer than 17 (RFC 9110 §16.1).
const MAX_METHOD: usize = 32;
/// Bytes of the extensions of one chunk; nobody sends any, attackers send megabytes.
const MAX_CHUNK_EXTENSION: usize = 256;
/// Bytes of all trailer fields of one request.
const MAX_TRAILERS: usize = 8 * 1024;
/// Hex digits of a chunk size: 2^60 is enough for anybody.
const MAX_CHUNK_DIGITS: u8 = 15;

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

#[derive(Clone, Copy, Debug)]
enum Chunk {
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

/// How the body behind a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    Upgrade,
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
                    let framing = check_head(&bytes[skipped..end], limits)?;
                    self.state = State::behind(framing);
                    self.heads += 1;
                    return Ok(Some(end));
                }
                End::Open { line_start } => {
                    check_open_head(bytes, line_start, limits)?;
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
                let framing = check_head(&self.carry[skipped..end], limits)?;
                self.state = State::behind(framing);
                self.heads += 1;
                self.carry = Vec::new();
                self.line_start = 0;
                Ok(Some(end - before))
            }
            End::Open { line_start } => {
                check_open_head(&self.carry, line_start, limits)?;
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
            Framing::Chunked => Self::Chunked(Chunk::Size { digits: 0, size: 0 }),
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

/// Checks what can be known of a head that is not complete, so that an endless one ends early.
fn check_open_head(bytes: &[u8], line_start: usize, limits: &Limits) -> Result<(), StatusCode> {
    if line_start == 0 && bytes.len() > limits.max_request_line {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let is_long_field = line_start > 0 && bytes.len() - line_start > limits.max_header_field;
    if is_long_field || bytes.len() > limits.max_header_size {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    // The first bytes of TLS, HTTP/2 or noise on a plain port: no method begins like this.
    let begin = leading_newlines(bytes);
    match bytes.get(begin) {
        Some(byte) if !is_token(*byte) => Err(StatusCode::BAD_REQUEST),
        _ => Ok(()),
    }
}

/// Checks a complete head, its last empty line included, and says how the body is framed.
fn check_head(head: &[u8], limits: &Limits) -> Result<Framing, StatusCode> {
    let mut lines = Lines { rest: head };
    let request_line = lines.next(limits.strict_http1)?;
    let version = check_request_line(request_line, limits)?;
    if head.len() > limits.max_header_size {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let mut fields = Fields::default();
    let mut count = 0;
    loop {
        let line = lines.next(limits.strict_http1)?;
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.max_headers || line.len() > limits.max_header_field {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        fields.read(line)?;
    }
    fields.framing(version)
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The next line without its end.
    fn next(&mut self, strict: bool) -> Result<&'a [u8], StatusCode> {
        let end = memchr(b'\n', self.rest).ok_or(StatusCode::BAD_REQUEST)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        match line.split_last() {
            Some((b'\r', line)) => Ok(line),
            // RFC 9112 §2.2 lets a recipient take a bare LF; parsers in front of us may not.
            _ if strict => Err(StatusCode::BAD_REQUEST),
            _ => Ok(line),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn check_request_line(line: &[u8], limits: &Limits) -> Result<Version, StatusCode> {
    let bad = StatusCode::BAD_REQUEST;
    let method_end = line.iter().position(|byte| !is_token(*byte)).ok_or(bad)?;
    let (method, [b' ', rest @ ..]) = line.split_at(method_end) else {
        return Err(bad);
    };
    if method.is_empty() {
        return Err(bad);
    }
    if method.len() > MAX_METHOD || method == b"CONNECT" {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    if line.len() > limits.max_request_line {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let target_end = memchr(b' ', rest).ok_or(bad)?;
    let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
    // RFC 9112 §3.2: a target has no fragment, and nothing outside the visible ASCII range.
    if !target
        .iter()
        .all(|byte| matches!(byte, b'!'..=b'~') && *byte != b'#')
    {
        return Err(bad);
    }
    let form_fits = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => has_http_scheme(target),
    };
    if !form_fits {
        return Err(bad);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED)
        }
        _ => Err(bad),
    }
}

fn has_http_scheme(target: &[u8]) -> bool {
    let scheme =
        |name: &[u8]| target.len() > name.len() && target[..name.len()].eq_ignore_ascii_case(name);
    scheme(b"http://") || scheme(b"https://")
}

/// The fields that decide where a message ends.
#[derive(Default)]
struct Fields {
    host: Option<HostField>,
    length: Option<u64>,
    transfer_encoding: Option<Coding>,
    upgrade: bool,
    unknown_expectation: bool,
}

struct HostField;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    Other,
}

impl Fields {
    fn read(&mut self, line: &[u8]) -> Result<(), StatusCode> {
        let bad = StatusCode::BAD_REQUEST;
        // RFC 9112 §5.1, §5.2: no space before the colon, no folded line; both fail here because
        // a space is not a token character.
        let end = line.iter().position(|byte| !is_token(*byte)).ok_or(bad)?;
        let (name, [b':', value @ ..]) = line.split_at(end) else {
            return Err(bad);
        };
        if name.is_empty() {
            return Err(bad);
        }
        // RFC 9110 §5.5: CR, LF and NUL never; other control characters have no business here.
        // Counting looks at all bytes, and so at many at once.
        let is_control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
        if value.iter().filter(|byte| is_control(**byte)).count() > 0 {
            return Err(bad);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let is_second = self.host.replace(HostField).is_some();
                return (!is_second && is_host(trim(value)))
                    .then_some(())
                    .ok_or(bad);
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.unknown_expectation |= !trim(value).eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade |= trim(value).eq_ignore_ascii_case(b"websocket");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let is_second = self.length.replace(content_length(trim(value))?).is_some();
                return (!is_second).then_some(()).ok_or(bad);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let value = trim(value);
                if !value.is_ascii() {
                    return Err(bad);
                }
                let coding = if value.eq_ignore_ascii_case(b"chunked") {
                    Coding::Chunked
                } else {
                    Coding::Other
                };
                if self.transfer_encoding.replace(coding).is_some() {
                    return Err(bad);
                }
            }
            _ if name.contains(&b'_') && passes_for_trusted(name) => return Err(bad),
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, StatusCode> {
        // RFC 9112 §3.2: exactly one Host on HTTP/1.1.
        if self.host.is_none() && version == Version::Http11 {
            return Err(StatusCode::BAD_REQUEST);
        }
        if self.unknown_expectation && version == Version::Http11 {
            return Err(StatusCode::EXPECTATION_FAILED);
        }
        match (self.transfer_encoding, self.length) {
            // RFC 9112 §6.1: both at once is how requests are smuggled; HTTP/1.0 has no codings.
            (Some(_), Some(_)) => Err(StatusCode::BAD_REQUEST),
            (Some(_), None) if version == Version::Http10 => Err(StatusCode::BAD_REQUEST),
            (Some(Coding::Other), None) => Err(StatusCode::NOT_IMPLEMENTED),
            (Some(Coding::Chunked), None) => Ok(Framing::Chunked),
            (None, None | Some(0)) if self.upgrade && version == Version::Http11 => {
                Ok(Framing::Upgrade)
            }
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// RFC 9110 §8.6: digits and nothing else.
fn content_length(value: &[u8]) -> Result<u64, StatusCode> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let length = value.iter().try_fold(0_u64, |length, digit| {
        length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    match length {
        Some(length) if i64::try_from(length).is_ok() => Ok(length),
        _ => Err(StatusCode::PAYLOAD_TOO_LARGE),
    }
}

/// Whether a name with `_` would pass for a field that proxies and frameworks trust, once somebody
/// behind us writes both characters the same way (CGI does).
fn passes_for_trusted(name: &[u8]) -> bool {
    const TRUSTED: [&[u8]; 7] = [
        b"x-forwarded-",
        b"x-real-ip",
        b"x-request-id",
        b"content-length",
        b"transfer-encoding",
        b"x-original-",
        b"x-client-",
    ];
    TRUSTED.iter().any(|trusted| {
        name.len() >= trusted.len()
            && name.iter().zip(*trusted).all(|(byte, wanted)| {
                let byte = if *byte == b'_' {
                    b'-'
                } else {
                    byte.to_ascii_lowercase()
                };
                byte == *wanted
            })
    })
}

/// RFC 9110 §7.2: `uri-host [ ":" port ]`, never empty here.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = if let [b'[', rest @ ..] = value {
        let Some(end) = memchr(b']', rest) else {
            return false;
        };
        (&rest[..end], &rest[end + 1..])
    } else {
        let end = memchr(b':', value).unwrap_or(value.len());
        (&value[..end], &value[end..])
    };
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let in_brackets = value.starts_with(b"[");
    port_fits
        && !host.is_empty()
        && host.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || b"-._~%!$&'()*+,;=".contains(byte)
                || (in_brackets && *byte == b':')
        })
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9110 §5.6.2 `tchar`.
fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut char = 0_u8;
        while char < 128 {
            table[char as usize] = char.is_ascii_alphanumeric()
                || matches!(
                    char,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
            char += 1;
        }
        table
    };
    TOKEN[byte as usize]
}

impl Chunk {
    /// Takes bytes of a chunked body; returns how many, and whether the body has ended.
    fn feed(&mut self, bytes: &[u8], strict: bool) -> Result<(usize, bool), StatusCode> {
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
            (Self::DataLf, b'\n') => Self::Size { digits: 0, size: 0 },
            (Self::DataCr, b'\n') if !strict => Self::Size { digits: 0, size: 0 },
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

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;
