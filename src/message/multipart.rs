//! Multipart forms (RFC 7578, framing of RFC 2046 §5.1.1) as a state machine without I/O.
//!
//! How this works: the body's chunks go in with [`MultipartParser::push`], events come out of
//! [`MultipartParser::next_event`] until it asks for more. What stays behind between two pushes is
//! at most one unfinished header line or the beginning of a possible delimiter, so neither memory
//! nor the work per byte grows with the body. Content comes out as slices of the buffer.

use std::str;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memmem::Finder;

use super::query::MAX_PAIRS;
use super::{media_type, percent};

/// The longest value of a form field, in decoded bytes.
pub const MAX_FIELD_BYTES: usize = 1024 * 1024;

/// What one form may hold; files themselves are bounded by the body limit alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Parts of a form: as many as an urlencoded one may have fields.
    pub max_parts: usize,
    /// Bytes of a part without a file name, which handlers get as text.
    pub max_field_bytes: usize,
    /// Bytes of one part's head, line ends included.
    pub max_head_bytes: usize,
    /// Header fields of one part.
    pub max_headers: usize,
    /// Bytes before the first delimiter; clients send none.
    pub max_preamble_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_parts: MAX_PAIRS,
            max_field_bytes: MAX_FIELD_BYTES,
            max_head_bytes: 8 * 1024,
            max_headers: 16,
            max_preamble_bytes: 4 * 1024,
        }
    }
}

/// What the parser has found.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A part begins.
    PartHead(PartHead),
    /// Some of the part's content, never empty.
    Data(Bytes),
    /// The part is complete.
    PartEnd,
    /// The closing delimiter: what follows is ignored.
    End,
}

/// The head of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct PartHead {
    /// The form field's name.
    pub name: String,
    /// The file's name; a part that has one is a file.
    pub filename: Option<FileName>,
    /// All header fields of the part.
    pub headers: HeaderMap,
}

impl PartHead {
    /// Returns the declared media type, if it is visible ASCII.
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }
}

/// The name that a client gave a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// As it came. Never to be used as a path.
    pub raw: String,
    /// The last component, without control and text-direction characters, at most 255 bytes; may
    /// be empty. Not made for opening files either.
    pub basename: String,
}

/// A form that is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The media type has no usable boundary.
    #[error("multipart boundary must be 1 to 70 characters of RFC 2046's set")]
    Boundary,
    /// Too much before the first delimiter.
    #[error("multipart form has more than {0} bytes before its first delimiter")]
    Preamble(usize),
    /// A delimiter that neither `--` nor a line end follows.
    #[error("multipart delimiter is not followed by '--' or CRLF")]
    Delimiter,
    /// A header line that is not `name: value` and CRLF.
    #[error("multipart part has a malformed header line")]
    HeaderLine,
    /// A part's head is over a limit.
    #[error("multipart part has more than {max_bytes} header bytes or {max_headers} header fields")]
    HeadTooLarge {
        /// The limit in bytes.
        max_bytes: usize,
        /// The limit in fields.
        max_headers: usize,
    },
    /// No usable `content-disposition`.
    #[error("multipart part needs one 'content-disposition: form-data' with one name, in UTF-8")]
    Disposition,
    /// Too many parts.
    #[error("multipart form has more than {0} parts")]
    TooManyParts(usize),
    /// A part that is not a file is too long.
    #[error("multipart field is longer than {0} bytes")]
    FieldTooLong(usize),
    /// The body ended before its closing delimiter.
    #[error("multipart form ended before its closing delimiter")]
    Incomplete,
}

impl MultipartError {
    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooManyParts(_) | Self::FieldTooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Boundary
            | Self::Preamble(_)
            | Self::Delimiter
            | Self::HeaderLine
            | Self::Disposition
            | Self::Incomplete => StatusCode::BAD_REQUEST,
        }
    }
}

/// An incremental parser of one form. After an error it must not be used again.
#[derive(Debug)]
pub struct MultipartParser {
    limits: Limits,
    /// Finds `CRLF "--" boundary`.
    delimiter: Finder<'static>,
    buffer: BytesMut,
    /// How much of the buffer has been searched without success.
    searched: usize,
    state: State,
    parts: usize,
}

#[derive(Debug)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// Right after a delimiter.
    Delimiter,
    /// Within the head of a part.
    Head { bytes: usize, headers: HeaderMap },
    /// Within the content of a part; a field has a length to watch, a file has none.
    Content { field_bytes: Option<usize> },
    /// After the closing delimiter.
    End,
}

/// What one look at the buffer came to.
enum Step {
    Found(Event),
    Again,
    NeedMore,
}

impl MultipartParser {
    /// Returns a parser for a boundary, as it stands in the media type without its quotes.
    ///
    /// # Errors
    ///
    /// [`MultipartError::Boundary`] when it is empty, longer than 70 characters, or has characters
    /// that RFC 2046 §5.1.1 does not allow.
    pub fn new(boundary: &str, limits: Limits) -> Result<Self, MultipartError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        let fits = (1..=MAX_BOUNDARY_CHARS).contains(&boundary.len());
        if !fits || boundary.ends_with(' ') || !boundary.bytes().all(allowed) {
            return Err(MultipartError::Boundary);
        }
        Ok(Self {
            limits,
            delimiter: Finder::new(&format!("\r\n--{boundary}")).into_owned(),
            // The first delimiter may begin the body: as if a line had ended just before it.
            buffer: BytesMut::from("\r\n"),
            searched: 0,
            state: State::Preamble,
            parts: 0,
        })
    }

    /// Takes the next chunk of the body; ask for events until there are none before the next.
    pub fn push(&mut self, chunk: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = match chunk.try_into_mut() {
                Ok(buffer) => buffer,
                Err(shared) => BytesMut::from(&*shared),
            };
        } else {
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Returns the next event, `None` when it needs another chunk.
    ///
    /// # Errors
    ///
    /// A [`MultipartError`] for a malformed form or one over a limit.
    pub fn next_event(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            let step = match self.state {
                State::Preamble => self.skip_preamble()?,
                State::Delimiter => self.read_delimiter()?,
                State::Head { .. } => self.read_head_line()?,
                State::Content { .. } => self.read_content()?,
                State::End => {
                    self.buffer.clear();
                    Step::NeedMore
                }
            };
            match step {
                Step::Found(event) => return Ok(Some(event)),
                Step::Again => {}
                Step::NeedMore => return Ok(None),
            }
        }
    }

    /// Checks, at the end of the body, that the form was complete.
    ///
    /// # Errors
    ///
    /// [`MultipartError::Incomplete`] when the closing delimiter has not come.
    pub fn finish(&self) -> Result<(), MultipartError> {
        match self.state {
            State::End => Ok(()),
            _ => Err(MultipartError::Incomplete),
        }
    }

    fn skip_preamble(&mut self) -> Result<Step, MultipartError> {
        let limit = self.limits.max_preamble_bytes;
        let found = self.find_delimiter();
        // The two bytes are the line end that the buffer began with.
        if found.unwrap_or(self.searched) > limit + 2 {
            return Err(MultipartError::Preamble(limit));
        }
        let Some(place) = found else {
            return Ok(Step::NeedMore);
        };
        self.skip(place + self.delimiter.needle().len());
        self.state = State::Delimiter;
        Ok(Step::Again)
    }

    fn read_delimiter(&mut self) -> Result<Step, MultipartError> {
        if self.buffer.starts_with(b"--") {
            self.state = State::End;
            return Ok(Step::Found(Event::End));
        }
        // RFC 2046 §5.1.1: white space may pad the line; nobody sends it, so little is enough.
        let is_padding = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let padding = self.buffer.iter().take_while(is_padding).count();
        match &self.buffer[padding..] {
            _ if padding > MAX_PADDING_BYTES => Err(MultipartError::Delimiter),
            [b'\r', b'\n', ..] => {
                self.skip(padding + 2);
                self.begin_part()
            }
            [] | [b'\r'] => Ok(Step::NeedMore),
            [b'-'] if padding == 0 => Ok(Step::NeedMore),
            _ => Err(MultipartError::Delimiter),
        }
    }

    fn begin_part(&mut self) -> Result<Step, MultipartError> {
        self.parts += 1;
        if self.parts > self.limits.max_parts {
            return Err(MultipartError::TooManyParts(self.limits.max_parts));
        }
        self.state = State::Head {
            bytes: 0,
            headers: HeaderMap::new(),
        };
        Ok(Step::Again)
    }

    fn read_head_line(&mut self) -> Result<Step, MultipartError> {
        let State::Head { bytes, headers } = &mut self.state else {
            return Ok(Step::Again);
        };
        let line_end = memchr::memchr(b'\n', &self.buffer[self.searched..]);
        let line_end = line_end.map(|offset| self.searched + offset + 1);
        let too_large = MultipartError::HeadTooLarge {
            max_bytes: self.limits.max_head_bytes,
            max_headers: self.limits.max_headers,
        };
        if *bytes + line_end.unwrap_or(self.buffer.len()) > self.limits.max_head_bytes {
            return Err(too_large);
        }
        let Some(line_end) = line_end else {
            self.searched = self.buffer.len();
            return Ok(Step::NeedMore);
        };
        *bytes += line_end;
        let line = self.buffer.split_to(line_end);
        self.searched = 0;
        let line = line
            .strip_suffix(b"\r\n")
            .ok_or(MultipartError::HeaderLine)?;
        if line.is_empty() {
            let head = part_head(std::mem::take(headers))?;
            let field_bytes = head.filename.is_none().then_some(0);
            self.state = State::Content { field_bytes };
            return Ok(Step::Found(Event::PartHead(head)));
        }
        if headers.len() == self.limits.max_headers {
            return Err(too_large);
        }
        let (name, value) = header_of(line).ok_or(MultipartError::HeaderLine)?;
        headers.append(name, value);
        Ok(Step::Again)
    }

    fn read_content(&mut self) -> Result<Step, MultipartError> {
        let State::Content { field_bytes } = &mut self.state else {
            return Ok(Step::Again);
        };
        let needle = self.delimiter.needle();
        let data_len = match self.delimiter.find(&self.buffer) {
            Some(0) => {
                self.skip(needle.len());
                self.state = State::Delimiter;
                return Ok(Step::Found(Event::PartEnd));
            }
            Some(place) => place,
            None => self.buffer.len() - unfinished(&self.buffer, needle),
        };
        if data_len == 0 {
            return Ok(Step::NeedMore);
        }
        if let Some(bytes) = field_bytes {
            *bytes += data_len;
            if *bytes > self.limits.max_field_bytes {
                return Err(MultipartError::FieldTooLong(self.limits.max_field_bytes));
            }
        }
        let data = self.buffer.split_to(data_len).freeze();
        Ok(Step::Found(Event::Data(data)))
    }

    /// Searches what has not been searched yet.
    fn find_delimiter(&mut self) -> Option<usize> {
        let found = self.delimiter.find(&self.buffer[self.searched..]);
        if found.is_none() {
            let kept = unfinished(&self.buffer, self.delimiter.needle());
            self.searched = self.buffer.len() - kept;
            return None;
        }
        found.map(|offset| self.searched + offset)
    }

    fn skip(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.searched = 0;
    }
}

/// RFC 2046 §5.1.1.
const MAX_BOUNDARY_CHARS: usize = 70;

/// White space between a delimiter and the end of its line.
const MAX_PADDING_BYTES: usize = 64;

/// The longest name of a file that file systems take, in bytes.
const MAX_BASENAME_BYTES: usize = 255;

/// Returns how many of the last bytes may be the beginning of the needle, which is a line end and
/// what follows: so only the carriage returns near the end are looked at.
fn unfinished(buffer: &[u8], needle: &[u8]) -> usize {
    let tail = &buffer[buffer.len().saturating_sub(needle.len() - 1)..];
    let starts = memchr::memchr_iter(b'\r', tail);
    let mut candidates = starts.map(|start| &tail[start..]);
    candidates
        .find(|rest| needle.starts_with(rest))
        .map_or(0, <[u8]>::len)
}

fn header_of(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = memchr::memchr(b':', line)?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

/// RFC 7578 §4.2: every part says the name of its field, exactly once.
fn part_head(headers: HeaderMap) -> Result<PartHead, MultipartError> {
    let mut dispositions = headers.get_all(CONTENT_DISPOSITION).iter();
    let (Some(value), None) = (dispositions.next(), dispositions.next()) else {
        return Err(MultipartError::Disposition);
    };
    let value = str::from_utf8(value.as_bytes()).map_err(|_| MultipartError::Disposition)?;
    let (kind, params) = value.split_once(';').unwrap_or((value, ""));
    let (mut name, mut filename, mut extended) = (None, None, None);
    for (key, value) in media_type::params(params) {
        let slot = match () {
            () if key.eq_ignore_ascii_case("name") => &mut name,
            () if key.eq_ignore_ascii_case("filename") => &mut filename,
            () if key.eq_ignore_ascii_case("filename*") => &mut extended,
            () => continue,
        };
        if slot.replace(value).is_some() {
            return Err(MultipartError::Disposition);
        }
    }
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(MultipartError::Disposition);
    }
    let name = unescaped(name.ok_or(MultipartError::Disposition)?);
    // RFC 7578 §4.2 has no `filename*`; some clients send it alone.
    let filename = filename.map(unescaped).or_else(|| extended_text(extended?));
    Ok(PartHead {
        name,
        filename: filename.map(FileName::new),
        headers,
    })
}

/// Takes off the escapes of a quoted value; other backslashes are text (`C:\a.txt`).
fn unescaped(value: &str) -> String {
    value.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// Reads `utf-8'language'percent-encoded` (RFC 8187 §3.2).
fn extended_text(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, text) = rest.split_once('\'')?;
    let text = percent::decode_path(text).ok()?;
    charset
        .eq_ignore_ascii_case("utf-8")
        .then(|| text.into_owned())
}

impl FileName {
    fn new(raw: String) -> Self {
        let last = raw.rsplit(['/', '\\']).next().unwrap_or_default();
        let visible = last
            .chars()
            .filter(|c| !c.is_control() && !is_direction_mark(*c));
        let mut basename: String = visible.collect();
        while basename.len() > MAX_BASENAME_BYTES {
            basename.pop();
        }
        if basename == "." || basename == ".." {
            basename.clear();
        }
        Self { raw, basename }
    }
}

/// Characters that turn the direction of text, so that `gpj.exe` shows as `exe.jpg`.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests;
