//! The scope of another ASGI server (HTTP and WebSocket 2.5) as the head of a request.
//!
//! Read once and straight from the dictionary. Hosts disagree about `root_path`: some put it before
//! `path`, some leave `path` as it came, and what rewrites `path` seldom thinks of `raw_path`. So
//! `path` decides, cut off at a segment boundary when it begins with `root_path`, and `raw_path` is
//! taken for its encoding where it says the same.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::message::head::{Connection, Endpoint, Head, Memo, Scheme};

/// What a path may hold as it is (RFC 3986 §3.3).
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A request of another server.
pub(super) struct HostRequest {
    pub(super) head: Head,
    /// Where the host has mounted the application; the head's path does not have it.
    pub(super) root_path: String,
    pub(super) is_websocket: bool,
}

/// Reads a scope of type `http` or `websocket`.
///
/// # Errors
///
/// `ValueError` or `KeyError` for what the specification does not allow, and for a request that the
/// host should have refused.
pub(super) fn read(scope: &Bound<'_, PyDict>) -> PyResult<HostRequest> {
    let py = scope.py();
    let is_websocket = match scope.get_item(intern!(py, "type"))? {
        Some(kind) => kind.eq(intern!(py, "websocket"))?,
        None => false,
    };
    let root_path = match given(scope, intern!(py, "root_path"))? {
        Some(text) => text
            .cast::<PyString>()?
            .to_str()?
            .trim_end_matches('/')
            .to_owned(),
        None => String::new(),
    };
    let prefix = prefix(scope, &root_path)?;
    let head = Head {
        method: method(scope)?,
        uri: uri(scope, &root_path, prefix.as_deref())?,
        version: version(scope)?,
        headers: headers(scope)?,
        connection: Arc::new(connection(scope)?),
    };
    Ok(HostRequest {
        head,
        root_path,
        is_websocket,
    })
}

fn given<'py>(
    scope: &Bound<'py, PyDict>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(scope.get_item(name)?.filter(|value| !value.is_none()))
}

/// Where Starlette has mounted us, without the root path of its own application: what `path` begins
/// with under a host that leaves its root path out.
fn prefix(scope: &Bound<'_, PyDict>, root_path: &str) -> PyResult<Option<String>> {
    let Some(outer) = given(scope, intern!(scope.py(), "app_root_path"))? else {
        return Ok(None);
    };
    let outer = outer.cast::<PyString>()?.to_str()?.trim_end_matches('/');
    let prefix = root_path.strip_prefix(outer).unwrap_or("");
    Ok((!outer.is_empty() && prefix.starts_with('/')).then(|| prefix.to_owned()))
}

fn method(scope: &Bound<'_, PyDict>) -> PyResult<Method> {
    let Some(method) = given(scope, intern!(scope.py(), "method"))? else {
        return Ok(Method::GET); // a WebSocket's scope has none
    };
    let method = method.cast::<PyString>()?.to_str()?;
    Method::from_bytes(method.as_bytes())
        .map_err(|_| PyValueError::new_err(format!("expected a method token, got {method:?}")))
}

fn version(scope: &Bound<'_, PyDict>) -> PyResult<Version> {
    let Some(version) = given(scope, intern!(scope.py(), "http_version"))? else {
        return Ok(Version::HTTP_11);
    };
    Ok(match version.cast::<PyString>()?.to_str()? {
        "1.0" => Version::HTTP_10,
        "2" | "2.0" => Version::HTTP_2,
        "3" | "3.0" => Version::HTTP_3,
        _ => Version::HTTP_11,
    })
}

fn uri(scope: &Bound<'_, PyDict>, root_path: &str, prefix: Option<&str>) -> PyResult<Uri> {
    let py = scope.py();
    let path = scope
        .get_item(intern!(py, "path"))?
        .ok_or_else(|| PyValueError::new_err("expected a scope with a path"))?;
    let path = path.cast::<PyString>()?;
    let path = path.to_str()?;
    let raw_path = given(scope, intern!(py, "raw_path"))?;
    let raw_path = match &raw_path {
        Some(raw) => raw.cast::<PyBytes>()?.as_bytes(),
        None => b"",
    };
    let query = given(scope, intern!(py, "query_string"))?;
    let query = match &query {
        Some(query) => query.cast::<PyBytes>()?.as_bytes(),
        None => b"",
    };
    let root_path = match prefix {
        Some(prefix) if strip(path.as_bytes(), root_path.as_bytes()).len() == path.len() => prefix,
        _ => root_path,
    };
    let mut target = routed(path, raw_path, root_path).into_owned();
    if !query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    let shown = || target.escape_ascii().to_string();
    let target = PathAndQuery::try_from(target.as_slice()).map_err(|error| {
        PyValueError::new_err(format!(
            "expected a request target, got '{}': {error}",
            shown()
        ))
    })?;
    Ok(Uri::from(target))
}

/// The path below `root_path`, percent-encoded: as it came, if `raw_path` still says the same.
fn routed<'a>(path: &'a str, raw_path: &'a [u8], root_path: &str) -> Cow<'a, [u8]> {
    let below = strip(path.as_bytes(), root_path.as_bytes());
    // Some servers leave the query in.
    let raw_path = raw_path.split(|&byte| byte == b'?').next().unwrap_or(b"");
    for raw in [raw_path, strip(raw_path, root_path.as_bytes())] {
        if !raw.is_empty() && says(raw, below) {
            return Cow::Borrowed(raw);
        }
    }
    if below.is_empty() {
        return Cow::Borrowed(b"/");
    }
    let below = std::str::from_utf8(below).unwrap_or("/");
    Cow::Owned(utf8_percent_encode(below, PATH).to_string().into_bytes())
}

/// What follows `prefix`, where it ends at the boundary of a segment; else all of `path`.
fn strip<'a>(path: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    match path.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest[0] == b'/' => rest,
        _ => path,
    }
}

fn says(raw: &[u8], path: &[u8]) -> bool {
    raw == path
        || (raw.contains(&b'%') && percent_decode(raw).decode_utf8_lossy().as_bytes() == path)
}

fn headers(scope: &Bound<'_, PyDict>) -> PyResult<HeaderMap> {
    let mut map = HeaderMap::new();
    let Some(fields) = given(scope, intern!(scope.py(), "headers"))? else {
        return Ok(map);
    };
    for field in fields.try_iter()? {
        let field = field?;
        let (name, value) = match field.cast::<PyTuple>() {
            Ok(pair) => (pair.get_item(0)?, pair.get_item(1)?),
            Err(_) => (field.get_item(0)?, field.get_item(1)?),
        };
        let (name, value) = (name.cast::<PyBytes>()?, value.cast::<PyBytes>()?);
        let (name, value) = (name.as_bytes(), value.as_bytes());
        let bad = |what: &str, bytes: &[u8]| {
            PyValueError::new_err(format!(
                "expected a header {what}, got '{}'",
                bytes.escape_ascii()
            ))
        };
        let name = HeaderName::from_bytes(name).map_err(|_| bad("name", name))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| bad("value", value))?;
        map.try_append(name, value)
            .map_err(|_| PyValueError::new_err("expected fewer than 32,768 headers"))?;
    }
    Ok(map)
}

fn connection(scope: &Bound<'_, PyDict>) -> PyResult<Connection> {
    let py = scope.py();
    let scheme = match given(scope, intern!(py, "scheme"))? {
        Some(scheme) if matches!(scheme.cast::<PyString>()?.to_str()?, "https" | "wss") => {
            Scheme::Https
        }
        _ => Scheme::Http,
    };
    Ok(Connection {
        peer: end(scope, intern!(py, "client"))?,
        local: end(scope, intern!(py, "server"))?,
        scheme,
        tls: None,
        memo: Memo::default(),
    })
}

/// One end of the connection, `[host, port]`: hosts without an address give a name or nothing.
fn end(scope: &Bound<'_, PyDict>, name: &Bound<'_, PyString>) -> PyResult<Endpoint> {
    let Some(pair) = given(scope, name)? else {
        return Ok(Endpoint::Unix(None));
    };
    let host = pair.get_item(0)?;
    let host = host.cast::<PyString>()?.to_str()?;
    // A link-local address comes with its interface: `fe80::1%eth0`.
    match host.split('%').next().unwrap_or(host).parse() {
        Ok(ip) => {
            let port = pair.get_item(1)?;
            let port = match port.cast::<PyString>() {
                Ok(digits) => digits.to_str()?.parse().ok(), // granian's ports are text
                Err(_) => port.extract::<Option<u16>>()?,
            };
            Ok(Endpoint::Tcp(SocketAddr::new(ip, port.unwrap_or(0))))
        }
        Err(_) => Ok(Endpoint::Unix((!host.is_empty()).then(|| host.into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(path: &str, raw_path: &str, root_path: &str) -> String {
        let routed = routed(path, raw_path.as_bytes(), root_path);
        String::from_utf8(routed.into_owned()).unwrap()
    }

    #[test]
    fn path_decides_and_raw_path_gives_the_encoding() {
        for (path, raw_path, root_path, expected) in [
            ("/hello", "/hello", "", "/hello"),
            ("/api/hello", "/api/hello", "/api", "/hello"), // the host put it before both
            ("/hello", "/hello", "/api", "/hello"),         // a proxy has cut it off
            ("/apis/x", "/apis/x", "/api", "/apis/x"),      // no segment boundary
            ("/api", "/api", "/api", "/"),
            ("/api/a/b", "/api/a%2Fb", "/api", "/a%2Fb"),
            ("/api/a b", "", "/api", "/a%20b"), // the host has no raw path
            ("/api/a%b", "", "/api", "/a%25b"),
            ("/new/x", "/old/x", "", "/new/x"), // a middleware rewrote the path
            ("/ü/x", "/%C3%BC/x", "/ü", "/x"),  // a mount below an encoded prefix
            ("/a\u{fffd}", "/a%FF", "", "/a%FF"),
            ("/hello", "/hello?q=1", "", "/hello"), // some leave the query in
            ("", "", "", "/"),
            ("*", "*", "", "*"),
        ] {
            assert_eq!(
                below(path, raw_path, root_path),
                expected,
                "{path} {raw_path}"
            );
        }
    }
}
