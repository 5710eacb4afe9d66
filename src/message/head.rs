//! A request's head together with what is known of the connection it came on.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Method, Uri, Version};

/// The head of one request.
///
/// `uri` is the target as it came: an absolute-form target keeps its authority, and the path is
/// still percent-encoded. On HTTP/2 the pseudo headers have become `method`, `uri` and `host`.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method, case kept: `get` is not `GET` (RFC 9110 §9.1).
    pub method: Method,
    /// The request target.
    pub uri: Uri,
    /// `HTTP_10`, `HTTP_11` or `HTTP_2`.
    pub version: Version,
    /// Field lines in the order in which they came, names in lower case, repeated ones kept.
    pub headers: HeaderMap,
    /// The connection's facts, shared by all its requests.
    pub connection: Arc<Connection>,
}

impl Head {
    /// Joins the parts of an `http` request with its connection.
    pub fn new(parts: http::request::Parts, connection: Arc<Connection>) -> Self {
        Self {
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers,
            connection,
        }
    }

    /// The path as it came, percent-encoded, without the query; `*` for `OPTIONS *`.
    pub fn raw_path(&self) -> &str {
        self.uri.path()
    }

    /// The query as it came, without its `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or("")
    }
}

/// What is known of a connection for as long as it stands.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: Endpoint,
    /// Our end.
    pub local: Endpoint,
    /// How the bytes travel.
    pub scheme: Scheme,
    /// What TLS settled; `None` on a plain connection.
    pub tls: Option<Tls>,
    /// What the application's side derives from the facts once, for all requests.
    pub memo: Memo,
}

/// A place for one value, filled at most once; empty in a clone.
#[derive(Default)]
pub struct Memo(OnceLock<Box<dyn Any + Send + Sync>>);

impl Memo {
    /// The value, made by `make` the first time; `None` when it was made with another type.
    pub fn value<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A Unix socket; clients usually have no path.
    Unix(Option<PathBuf>),
}

/// The scheme of a request as its connection shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What a TLS handshake settled, in the shape of the ASGI `tls` extension.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate that this server showed, PEM.
    pub server_cert: Option<Arc<str>>,
    /// The client's certificates, leaf first, PEM each.
    pub client_cert_chain: Vec<String>,
    /// The client's subject as an RFC 4514 string.
    pub client_cert_name: Option<String>,
    /// 0x0303 for TLS 1.2, 0x0304 for TLS 1.3.
    pub version: u16,
    /// The cipher suite's number in the IANA registry.
    pub cipher_suite: u16,
}
