//! The opening handshake (RFC 6455 §4, over HTTP/2 RFC 8441 §5): is it valid, may it come from
//! there, and what accepts it.
//!
//! `Sec-WebSocket-Extensions` is not looked at: no extension is offered, so none is answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use thiserror::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::message::head::Scheme;

/// A handshake that may be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// What answers the client's key; none on HTTP/2.
    accept: Option<HeaderValue>,
}

/// Why a handshake cannot be accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// RFC 6455 §4.1: the method is GET, and HTTP/1.0 has no upgrade.
    #[error("expected a GET request of HTTP/1.1 for a WebSocket, got another")]
    Request,
    /// RFC 6455 §4.2.1: another version than 13.
    #[error("expected sec-websocket-version 13, got another")]
    Version,
    /// RFC 6455 §4.2.1: not one key of 16 bytes in base64.
    #[error("expected one sec-websocket-key of 16 bytes in base64, got something else")]
    Key,
}

impl HandshakeError {
    /// The status of the refusal.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Request | Self::Key => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
        }
    }

    /// The fields of the refusal; RFC 6455 §4.4: the version that would do.
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self == Self::Version {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        headers
    }
}

/// Whether an HTTP/1 request asks for a WebSocket. One that asks for another upgrade, or does
/// not say so in `connection`, is an ordinary request (RFC 9110 §7.8).
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &CONNECTION, "upgrade")
}

impl Handshake {
    /// Checks a request for which [`is_upgrade`] holds.
    ///
    /// # Errors
    /// When it cannot be accepted.
    pub fn upgrade(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Self, HandshakeError> {
        if *method != Method::GET || version != Version::HTTP_11 {
            return Err(HandshakeError::Request);
        }
        check_version(headers)?;
        let key = single(headers, &SEC_WEBSOCKET_KEY)
            .ok_or(HandshakeError::Key)?
            .as_bytes();
        match STANDARD.decode(key) {
            Ok(nonce) if nonce.len() == 16 => {}
            _ => return Err(HandshakeError::Key),
        }
        let accept =
            HeaderValue::from_str(&derive_accept_key(key)).map_err(|_| HandshakeError::Key)?;
        Ok(Self {
            accept: Some(accept),
        })
    }

    /// Checks a `CONNECT` request with `:protocol` `websocket` (RFC 8441 §5: no key there).
    ///
    /// # Errors
    /// When it cannot be accepted.
    pub fn connect(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        check_version(headers)?;
        Ok(Self { accept: None })
    }

    /// The status that accepts: 101, on HTTP/2 200.
    pub fn status(&self) -> StatusCode {
        match self.accept {
            Some(_) => StatusCode::SWITCHING_PROTOCOLS,
            None => StatusCode::OK,
        }
    }

    /// Adds the fields that accept to the application's.
    pub fn accept(self, headers: &mut HeaderMap) {
        if let Some(accept) = self.accept {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
    }
}

/// The subprotocols that the client offers, in its order; empty when it offers none.
pub fn subprotocols(headers: &HeaderMap) -> Vec<String> {
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL)
        .map(str::to_owned)
        .collect()
}

/// Who may open a WebSocket from a browser: cookies travel with the handshake, and the same-origin
/// policy does not cover it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginPolicy {
    /// Pages of the host that is asked, and clients that are no browsers (no `origin`).
    #[default]
    SameHost,
    /// These origins besides, e.g. `https://example.com` or `null`.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl OriginPolicy {
    /// Whether a handshake with these fields may go on; `authority` is the target's, if it has
    /// one, and wins over `host`.
    pub fn allows(&self, headers: &HeaderMap, authority: Option<&str>, scheme: Scheme) -> bool {
        if *self == Self::Any || !headers.contains_key(ORIGIN) {
            return true;
        }
        let Some(origin) = single(headers, &ORIGIN).and_then(|origin| origin.to_str().ok()) else {
            return false;
        };
        if let Self::Listed(listed) = self
            && listed.iter().any(|one| one.eq_ignore_ascii_case(origin))
        {
            return true;
        }
        let host = authority.or_else(|| single(headers, &HOST)?.to_str().ok());
        host.is_some_and(|host| is_same_host(origin, host, scheme))
    }
}

/// Whether `scheme://host:port` names `host`, absent ports being the schemes' own.
fn is_same_host(origin: &str, host: &str, scheme: Scheme) -> bool {
    let Some((origin_scheme, origin_host)) = origin.split_once("://") else {
        return false;
    };
    let origin_port = match origin_scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let port = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    match (split_port(origin_host, origin_port), split_port(host, port)) {
        (Some((one, one_port)), Some((other, other_port))) => {
            // A proxy may have ended TLS before us: then the default ports differ, not the host.
            let same_port =
                one_port == other_port || (is_default_port(origin_host) && is_default_port(host));
            same_port && one.eq_ignore_ascii_case(&other)
        }
        _ => false,
    }
}

fn split_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let uri: Uri = authority.parse().ok()?;
    let authority = uri.into_parts().authority?;
    (!authority.as_str().contains('@')).then(|| {
        (
            authority.host().to_owned(),
            authority.port_u16().unwrap_or(default),
        )
    })
}

fn is_default_port(authority: &str) -> bool {
    // The last colon of an IPv6 address stands before its closing bracket.
    authority
        .rfind(':')
        .is_none_or(|colon| authority[colon..].contains(']'))
}

fn check_version(headers: &HeaderMap) -> Result<(), HandshakeError> {
    match single(headers, &SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "13" => Ok(()),
        _ => Err(HandshakeError::Version),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|one| one.eq_ignore_ascii_case(token))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        map
    }

    fn upgrade(fields: &[(&str, &str)]) -> Result<Handshake, HandshakeError> {
        Handshake::upgrade(&Method::GET, Version::HTTP_11, &map(fields))
    }

    #[test]
    fn a_valid_key_is_answered() {
        let handshake = upgrade(&[KEY, VERSION]).unwrap();
        assert_eq!(handshake.status(), 101);
        let mut headers = map(&[("x", "y")]);
        handshake.accept(&mut headers);
        // The example of RFC 6455 §1.3.
        assert_eq!(
            headers["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["connection"], "upgrade");
        assert_eq!(headers["x"], "y");
    }

    #[test]
    fn a_handshake_that_breaks_the_rules_is_refused() {
        let cases: [(Lines, HandshakeError, u16); 9] = [
            (&[VERSION], HandshakeError::Key, 400),
            (&[KEY, KEY, VERSION], HandshakeError::Key, 400),
            (
                &[("sec-websocket-key", ""), VERSION],
                HandshakeError::Key,
                400,
            ),
            (
                &[("sec-websocket-key", "c2hvcnQ="), VERSION],
                HandshakeError::Key,
                400,
            ),
            (
                &[("sec-websocket-key", "not base64!"), VERSION],
                HandshakeError::Key,
                400,
            ),
            (&[KEY], HandshakeError::Version, 426),
            (
                &[KEY, ("sec-websocket-version", "8")],
                HandshakeError::Version,
                426,
            ),
            (
                &[KEY, ("sec-websocket-version", "13, 8")],
                HandshakeError::Version,
                426,
            ),
            (&[KEY, VERSION, VERSION], HandshakeError::Version, 426),
        ];
        for (fields, expected, status) in cases {
            assert_eq!(upgrade(fields), Err(expected), "{fields:?}");
            assert_eq!(expected.status(), status);
        }
        assert_eq!(
            HandshakeError::Version.headers()["sec-websocket-version"],
            "13"
        );
        assert!(HandshakeError::Key.headers().is_empty());
        let fields = map(&[KEY, VERSION]);
        for (method, version) in [
            (Method::POST, Version::HTTP_11),
            (Method::GET, Version::HTTP_10),
        ] {
            let result = Handshake::upgrade(&method, version, &fields);
            assert_eq!(result, Err(HandshakeError::Request));
        }
    }

    #[test]
    fn http2_needs_no_key() {
        let handshake = Handshake::connect(&map(&[VERSION])).unwrap();
        assert_eq!(handshake.status(), 200);
        let mut headers = HeaderMap::new();
        handshake.accept(&mut headers);
        assert!(headers.is_empty());
        assert_eq!(Handshake::connect(&map(&[])), Err(HandshakeError::Version));
    }

    #[test]
    fn only_a_websocket_upgrade_is_one() {
        let cases: [(Lines, bool); 7] = [
            (&[("upgrade", "websocket"), ("connection", "Upgrade")], true),
            (
                &[
                    ("upgrade", "WebSocket"),
                    ("connection", "keep-alive, upgrade"),
                ],
                true,
            ),
            (
                &[
                    ("upgrade", "h2c, websocket"),
                    ("connection", "x"),
                    ("connection", "upgrade"),
                ],
                true,
            ),
            (&[("upgrade", "websocket")], false),
            (
                &[("upgrade", "websocket"), ("connection", "keep-alive")],
                false,
            ),
            (&[("upgrade", "h2c"), ("connection", "upgrade")], false),
            (&[("connection", "upgrade")], false),
        ];
        for (fields, expected) in cases {
            assert_eq!(is_upgrade(&map(fields)), expected, "{fields:?}");
        }
    }

    #[test]
    fn subprotocols_keep_their_order_over_all_lines() {
        let name = "sec-websocket-protocol";
        assert_eq!(
            subprotocols(&map(&[(name, "b, a"), (name, "c,,d ")])),
            ["b", "a", "c", "d"]
        );
        assert!(subprotocols(&map(&[])).is_empty());
    }

    #[test]
    fn same_host_is_the_default_origin() {
        let allowed = [
            (None, "a.example"),
            (Some("http://a.example"), "a.example"),
            (Some("http://A.Example:80"), "a.example"),
            (Some("https://a.example"), "a.example"),
            (Some("http://a.example:8000"), "a.example:8000"),
            (Some("http://[::1]:8000"), "[::1]:8000"),
            (Some("https://[::1]"), "[::1]"),
        ];
        let refused = [
            (Some("null"), "a.example"),
            (Some("https://evil"), "a.example"),
            (Some("http://a.example.evil"), "a.example"),
            (Some("http://evil-a.example"), "a.example"),
            (Some("http://a.example:8001"), "a.example:8000"),
            (Some("http://a.example"), "a.example:8000"),
            (Some("http://a.example@evil"), "a.example"),
            (Some("http://evil@a.example"), "a.example"),
            (Some("ftp://a.example"), "a.example"),
            (Some("a.example"), "a.example"),
            (Some("http://a.example/x"), "a.example"),
            (Some(""), "a.example"),
        ];
        for (cases, expected) in [(&allowed[..], true), (&refused[..], false)] {
            for (origin, host) in cases {
                let mut headers = map(&[("host", host)]);
                if let Some(origin) = origin {
                    headers.insert(ORIGIN, HeaderValue::from_static(origin));
                }
                let allows = |policy: OriginPolicy| policy.allows(&headers, None, Scheme::Http);
                assert_eq!(
                    allows(OriginPolicy::SameHost),
                    expected,
                    "{origin:?} {host}"
                );
                assert!(allows(OriginPolicy::Any));
            }
        }
    }

    #[test]
    fn listed_origins_widen_the_default() {
        let policy = OriginPolicy::Listed(vec!["https://b.example".into(), "null".into()]);
        let allows = |origin| {
            let headers = map(&[("host", "a.example"), ("origin", origin)]);
            policy.allows(&headers, None, Scheme::Http)
        };
        assert!(allows("https://b.example") && allows("null") && allows("http://a.example"));
        assert!(!allows("http://b.example") && !allows("https://b.example.evil"));
        let twice = map(&[
            ("host", "a"),
            ("origin", "http://a"),
            ("origin", "http://a"),
        ]);
        assert!(!policy.allows(&twice, None, Scheme::Http));
    }
}
