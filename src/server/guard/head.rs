//! The rules of a request's head (RFC 9112 §3 and §5), and how it frames the body behind it (§6).

use http::StatusCode;
use memchr::memchr;

use super::super::limits::Limits;
use super::leading_newlines;

/// Bytes of a method; none that is registered is longer than 17 (RFC 9110 §16.1).
const MAX_METHOD: usize = 32;

/// How the body behind a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    Upgrade,
}

/// Checks what can be known of a head that is not complete, so that an endless one ends early.
pub(super) fn check_open(
    bytes: &[u8],
    line_start: usize,
    limits: &Limits,
) -> Result<(), StatusCode> {
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
pub(super) fn check(head: &[u8], limits: &Limits) -> Result<Framing, StatusCode> {
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
pub(super) fn is_token(byte: u8) -> bool {
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
