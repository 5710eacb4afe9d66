//! From a stream's fields to a [`Head`]: the rules of RFC 9113 §8 that `h2` does not check.

use std::sync::Arc;

use h2::Reason;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use crate::message::head::{Connection, Head};
use crate::protocol::websocket::handshake::{Handshake, HandshakeError};

use super::limits::Http2Limits;

/// A request that may be handed to the application.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    /// What `content-length` declares.
    pub(super) length: Option<u64>,
    /// It is an extended CONNECT for a WebSocket.
    pub(super) websocket: bool,
}

/// A request that the application never sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// Malformed (RFC 9113 §8.1.1): the stream is reset.
    Malformed,
    /// Well formed but refused: an empty response with this status.
    Status(StatusCode),
    /// A WebSocket that cannot be.
    Handshake(HandshakeError),
}

impl Rejected {
    /// Why the stream is reset.
    pub(super) const REASON: Reason = Reason::PROTOCOL_ERROR;
}

/// Checks a request and builds its [`Head`]: `uri` is the path and query, `host` is the first
/// field, cookies are one field. The method of a WebSocket handshake becomes GET, so that it
/// looks the same on every version of HTTP.
pub(super) fn check(
    parts: Parts,
    connection: &Arc<Connection>,
    limits: &Http2Limits,
) -> Result<Request, Rejected> {
    let websocket = match parts.extensions.get::<Protocol>() {
        None => false,
        Some(protocol) if protocol.as_str() == "websocket" => true,
        // RFC 9220 §3
        Some(_) => return Err(Rejected::Status(StatusCode::NOT_IMPLEMENTED)),
    };
    if parts.method == Method::CONNECT && !websocket
        || parts.method.as_str().len() > limits.max_method_bytes
    {
        return Err(Rejected::Status(StatusCode::NOT_IMPLEMENTED));
    }
    let target = target(&parts.uri, &parts.method, limits)?;
    let host = host(&parts.uri, &parts.headers)?;
    if parts.headers.len() > limits.max_headers {
        return Err(Rejected::Status(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ));
    }
    let length = length(&parts.headers)?;
    if websocket {
        Handshake::connect(&parts.headers).map_err(Rejected::Handshake)?;
    }
    let head = Head {
        method: if websocket { Method::GET } else { parts.method },
        uri: target,
        version: Version::HTTP_2,
        headers: fields(host, parts.headers)?,
        connection: Arc::clone(connection),
    };
    Ok(Request {
        head,
        length,
        websocket,
    })
}

fn target(uri: &Uri, method: &Method, limits: &Http2Limits) -> Result<Uri, Rejected> {
    let scheme = uri.scheme();
    if scheme.is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Rejected::Malformed);
    }
    // `h2` lets a missing `:path` pass when there is no `:authority`; `Uri` fills it in otherwise.
    let path_and_query = uri.path_and_query().ok_or(Rejected::Malformed)?;
    let text = path_and_query.as_str();
    // RFC 9113 §8.3.1: absolute path, or `*` for OPTIONS
    let absolute = text.starts_with('/') || text == "*" && *method == Method::OPTIONS;
    if !absolute {
        return Err(Rejected::Malformed);
    }
    if text.len() > limits.max_target_bytes {
        return Err(Rejected::Status(StatusCode::URI_TOO_LONG));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Rejected::Status(StatusCode::BAD_REQUEST));
    }
    Ok(PathAndQuery::clone(path_and_query).into())
}

/// The authority, from `:authority` or, without it, from the one `host` field.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, Rejected> {
    let mut hosts = headers.get_all(HOST).iter();
    let field = hosts.next();
    if hosts.next().is_some() {
        return Err(Rejected::Malformed);
    }
    let Some(authority) = uri.authority().map(http::uri::Authority::as_str) else {
        let field = field.ok_or(Rejected::Status(StatusCode::BAD_REQUEST))?;
        let valid = field
            .to_str()
            .ok()
            .and_then(|text| text.parse::<http::uri::Authority>().ok())
            .is_some_and(|authority| !authority.as_str().contains('@'));
        return if valid {
            Ok(field.clone())
        } else {
            Err(Rejected::Malformed)
        };
    };
    // RFC 9113 §8.3.1: no userinfo, and `host` must not differ
    let differs =
        field.is_some_and(|field| !field.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
    if differs || authority.contains('@') {
        return Err(Rejected::Malformed);
    }
    HeaderValue::from_str(authority).map_err(|_| Rejected::Malformed)
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Rejected> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    let digits = length.as_bytes();
    if lengths.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Rejected::Malformed);
    }
    let parsed = length.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or(Rejected::Malformed)
}

/// Puts `host` first and joins the cookie crumbs (RFC 9113 §8.2.3).
fn fields(host: HeaderValue, headers: HeaderMap) -> Result<HeaderMap, Rejected> {
    // RFC 9113 §8.2.1
    let padded = |value: &HeaderValue| {
        let bytes = value.as_bytes();
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        blank(bytes.first()) || blank(bytes.last())
    };
    if headers.values().any(padded) {
        return Err(Rejected::Malformed);
    }
    let mut all = HeaderMap::with_capacity(headers.len() + 1);
    all.append(HOST, host);
    let mut current = HOST;
    let mut cookie: Option<Vec<u8>> = None;
    for (name, value) in headers {
        if let Some(name) = name {
            current = name;
        }
        if current == HOST {
            continue;
        }
        if current == COOKIE {
            if let Some(joined) = &mut cookie {
                joined.extend_from_slice(b"; ");
                joined.extend_from_slice(value.as_bytes());
                continue;
            }
            cookie = Some(value.as_bytes().to_vec());
        }
        all.append(current.clone(), value);
    }
    if let Some(joined) = cookie
        && let Some(value) = all.get_mut(COOKIE)
        && joined.len() > value.len()
    {
        *value = HeaderValue::from_bytes(&joined).map_err(|_| Rejected::Malformed)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::head::{Endpoint, Memo, Scheme as Transport};

    type Headers<'a> = &'a [(&'static str, &'a str)];

    fn checked(method: &str, uri: &str, headers: Headers<'_>) -> Result<Request, Rejected> {
        let mut builder = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let connection = Arc::new(Connection {
            peer: Endpoint::Unix(None),
            local: Endpoint::Unix(None),
            scheme: Transport::Http,
            tls: None,
            memo: Memo::default(),
        });
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        check(parts, &connection, &Http2Limits::default())
    }

    #[test]
    fn malformed_and_refused_requests_are_told_apart() {
        let status = |code| Err(Rejected::Status(StatusCode::from_u16(code).unwrap()));
        let malformed = Err(Rejected::Malformed);
        let long = format!("http://a/{}", "x".repeat(20_000));
        let many: Vec<_> = (0..101).map(|_| ("cookie", "a=1")).collect();
        let cases: &[(&str, &str, Headers<'_>, Result<(), Rejected>)] = &[
            ("GET", "http://a/", &[], Ok(())),
            ("GET", "http://a/", &[("host", "A")], Ok(())),
            ("GET", "http://a/", &[("host", "b")], malformed),
            (
                "GET",
                "http://a/",
                &[("host", "a"), ("host", "a")],
                malformed,
            ),
            ("GET", "http://u@a/", &[], malformed),
            ("GET", "/", &[("host", "a")], Ok(())),
            ("GET", "/", &[("host", "u@a")], malformed),
            ("GET", "/", &[("host", "a/b")], malformed),
            ("GET", "/", &[], status(400)),
            ("GET", "ftp://a/", &[], malformed),
            ("OPTIONS", "*", &[("host", "a")], Ok(())),
            ("GET", "*", &[("host", "a")], malformed),
            ("GET", "/%00", &[("host", "a")], Ok(())),
            ("GET", "/\u{fc}", &[("host", "a")], status(400)),
            ("GET", &long, &[], status(414)),
            ("CONNECT", "a:1", &[], status(501)),
            (&"G".repeat(33), "http://a/", &[], status(501)),
            ("GET", "http://a/", &many, status(431)),
            ("GET", "http://a/", &[("x", " a")], malformed),
            ("GET", "http://a/", &[("x", "a\t")], malformed),
            ("GET", "http://a/", &[("x", "")], Ok(())),
            ("POST", "http://a/", &[("content-length", "3")], Ok(())),
            ("POST", "http://a/", &[("content-length", "+3")], malformed),
            ("POST", "http://a/", &[("content-length", "")], malformed),
            (
                "POST",
                "http://a/",
                &[("content-length", "3"), ("content-length", "3")],
                malformed,
            ),
        ];
        for (method, uri, headers, expected) in cases {
            let result = checked(method, uri, headers).map(|_| ());
            assert_eq!(result, *expected, "{method} {uri:.40} {headers:.3?}");
        }
    }

    #[test]
    fn the_host_comes_first_and_cookies_are_one_field() {
        let headers = [
            ("cookie", "a=1"),
            ("accept", "x"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
            ("accept", "y"),
        ];
        let request = checked("GET", "https://ex.org:8443/p?q", &headers).unwrap();
        assert_eq!(request.head.uri, "/p?q");
        let fields: Vec<_> = request.head.headers.iter().collect();
        let expected = [
            ("host", "ex.org:8443"),
            ("cookie", "a=1; b=2; c=3"),
            ("accept", "x"),
            ("accept", "y"),
        ];
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(fields, expected);
    }
}
