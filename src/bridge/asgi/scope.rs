//! The scope dictionary of a connection (ASGI HTTP and WebSocket 2.5).

use std::borrow::Cow;

use http::{HeaderMap, Method, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::message::head::{Connection, Endpoint, Head, Scheme, Tls};
use crate::server::Capabilities;

/// What of a scope is the same for all requests of one application.
pub(super) struct Settings {
    /// The prefix that the application is served under, without a slash at its end.
    pub(super) root_path: String,
    /// The part of it that paths have on the wire, unless a proxy has cut it off: the server's own.
    pub(super) server_root: String,
    /// What the application stored at start-up; each scope gets a shallow copy.
    pub(super) state: Option<Py<PyDict>>,
    /// A scope with all keys and what is the same in all; copying it is faster than filling a new
    /// dictionary, which grows on the way.
    template: PyOnceLock<Py<PyDict>>,
}

impl Settings {
    pub(super) fn new(root_path: &str, state: Option<Py<PyDict>>) -> Self {
        Self {
            root_path: root_path.trim_end_matches('/').to_owned(),
            server_root: root_path.trim_end_matches('/').to_owned(),
            state,
            template: PyOnceLock::new(),
        }
    }

    /// A new scope; what depends on the request is still to be set.
    fn scope<'py>(
        &self,
        py: Python<'py>,
        kind: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let template = self.template.get_or_try_init(py, || {
            let template = PyDict::new(py);
            for key in [
                intern!(py, "type"),
                intern!(py, "asgi"),
                intern!(py, "http_version"),
                intern!(py, "server"),
                intern!(py, "client"),
                intern!(py, "scheme"),
                intern!(py, "root_path"),
                intern!(py, "path"),
                intern!(py, "raw_path"),
                intern!(py, "query_string"),
                intern!(py, "headers"),
                intern!(py, "extensions"),
            ] {
                template.set_item(key, py.None())?;
            }
            template.set_item(intern!(py, "root_path"), &self.root_path)?;
            PyResult::Ok(template.unbind())
        })?;
        let scope = template.bind(py).copy()?;
        scope.set_item(intern!(py, "type"), kind)?;
        Ok(scope)
    }
}

/// A path that no application can be given: it has a NUL once it is decoded.
#[derive(Debug)]
pub(super) struct NulInPath;

/// The scope of an HTTP request.
pub(super) fn http<'py>(
    py: Python<'py>,
    settings: &Settings,
    head: &Head,
    capabilities: Capabilities,
) -> PyResult<Result<Bound<'py, PyDict>, NulInPath>> {
    let scope = settings.scope(py, intern!(py, "http"))?;
    scope.set_item(intern!(py, "method"), method(py, &head.method))?;
    let scheme = match head.connection.scheme {
        Scheme::Http => intern!(py, "http"),
        Scheme::Https => intern!(py, "https"),
    };
    scope.set_item(intern!(py, "scheme"), scheme)?;
    let extensions = PyDict::new(py);
    let nothing = PyDict::new(py);
    extensions.set_item(intern!(py, "http.response.pathsend"), &nothing)?;
    extensions.set_item(intern!(py, "http.response.zerocopysend"), &nothing)?;
    if capabilities.early_hints {
        extensions.set_item(intern!(py, "http.response.early_hint"), &nothing)?;
    }
    if capabilities.trailers {
        extensions.set_item(intern!(py, "http.response.trailers"), &nothing)?;
    }
    if fill(py, &scope, settings, head, extensions)? {
        Ok(Ok(scope))
    } else {
        Ok(Err(NulInPath))
    }
}

/// The scope of a WebSocket whose client offers these subprotocols.
pub(super) fn websocket<'py>(
    py: Python<'py>,
    settings: &Settings,
    head: &Head,
    subprotocols: &[String],
) -> PyResult<Result<Bound<'py, PyDict>, NulInPath>> {
    let scope = settings.scope(py, intern!(py, "websocket"))?;
    let scheme = match head.connection.scheme {
        Scheme::Http => intern!(py, "ws"),
        Scheme::Https => intern!(py, "wss"),
    };
    scope.set_item(intern!(py, "scheme"), scheme)?;
    scope.set_item(intern!(py, "subprotocols"), PyList::new(py, subprotocols)?)?;
    let extensions = PyDict::new(py);
    extensions.set_item(intern!(py, "websocket.http.response"), PyDict::new(py))?;
    if fill(py, &scope, settings, head, extensions)? {
        Ok(Ok(scope))
    } else {
        Ok(Err(NulInPath))
    }
}

/// Adds what HTTP and WebSocket scopes share; `false` when the path has a NUL.
fn fill<'py>(
    py: Python<'py>,
    scope: &Bound<'py, PyDict>,
    settings: &Settings,
    head: &Head,
    extensions: Bound<'py, PyDict>,
) -> PyResult<bool> {
    scope.set_item(intern!(py, "asgi"), versions(py)?)?;
    scope.set_item(intern!(py, "http_version"), version(py, head.version))?;
    let raw_path = head.raw_path();
    let path: Cow<'_, str> = if raw_path.contains('%') {
        let decoded = percent_encoding::percent_decode_str(raw_path);
        decoded.decode_utf8_lossy()
    } else {
        raw_path.into()
    };
    if path.contains('\0') {
        return Ok(false);
    }
    let server_root = settings.server_root.as_str();
    if server_root.is_empty() || is_under(&path, server_root) {
        scope.set_item(intern!(py, "path"), &*path)?;
        scope.set_item(
            intern!(py, "raw_path"),
            PyBytes::new(py, raw_path.as_bytes()),
        )?;
    } else {
        scope.set_item(intern!(py, "path"), format!("{server_root}{path}"))?;
        let raw_path = format!("{server_root}{raw_path}");
        scope.set_item(
            intern!(py, "raw_path"),
            PyBytes::new(py, raw_path.as_bytes()),
        )?;
    }
    let query = PyBytes::new(py, head.query().as_bytes());
    scope.set_item(intern!(py, "query_string"), query)?;
    scope.set_item(intern!(py, "headers"), headers(py, &head.headers)?)?;
    let ends = ends(py, &head.connection)?;
    scope.set_item(intern!(py, "client"), ends.client.bind(py))?;
    scope.set_item(intern!(py, "server"), ends.server.bind(py))?;
    if let Some(tls) = &ends.tls {
        let tls = tls.bind(py).copy()?;
        let chain = head
            .connection
            .tls
            .iter()
            .flat_map(|tls| &tls.client_cert_chain);
        tls.set_item(
            intern!(py, "client_cert_chain"),
            PyList::new(py, chain.collect::<Vec<_>>())?,
        )?;
        extensions.set_item(intern!(py, "tls"), tls)?;
    }
    if let Some(state) = &settings.state {
        scope.set_item(intern!(py, "state"), state.bind(py).copy()?)?;
    }
    scope.set_item(intern!(py, "extensions"), extensions)?;
    Ok(true)
}

/// The versions that we speak, in a dictionary of the scope's own.
fn versions(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    static VERSIONS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let versions = VERSIONS.get_or_try_init(py, || {
        let versions = PyDict::new(py);
        versions.set_item("version", "3.0")?;
        versions.set_item("spec_version", "2.5")?;
        PyResult::Ok(versions.unbind())
    })?;
    versions.bind(py).copy()
}

/// Whether `path` lies under `prefix`, which ends at a segment boundary.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn method<'py>(py: Python<'py>, method: &Method) -> Bound<'py, PyString> {
    match *method {
        Method::GET => intern!(py, "GET").clone(),
        Method::POST => intern!(py, "POST").clone(),
        // ASGI gives methods in upper case; the protocol tells `get` from `GET`.
        _ => PyString::new(py, &method.as_str().to_ascii_uppercase()),
    }
}

fn version(py: Python<'_>, version: Version) -> &Bound<'_, PyString> {
    match version {
        Version::HTTP_10 => intern!(py, "1.0"),
        Version::HTTP_2 => intern!(py, "2"),
        _ => intern!(py, "1.1"),
    }
}

/// Header fields as `[(b"name", b"value"), …]`, names in lower case, order kept.
pub(crate) fn headers<'py>(py: Python<'py>, headers: &HeaderMap) -> PyResult<Bound<'py, PyList>> {
    let pairs = headers.iter().map(|(name, value)| {
        let name = PyBytes::new(py, name.as_str().as_bytes());
        let value = PyBytes::new(py, value.as_bytes());
        PyTuple::new(py, [name, value])
    });
    let list = PyList::empty(py);
    for pair in pairs {
        list.append(pair?)?;
    }
    Ok(list)
}

/// The two ends of a connection as Python has them: made once, tuples can be shared.
pub(crate) struct Ends {
    pub(crate) client: Py<PyAny>,
    pub(crate) server: Py<PyAny>,
    /// The `tls` extension without its list; each scope gets a copy and a list of its own.
    tls: Option<Py<PyDict>>,
}

/// What the `tls` extension says of a connection.
fn tls<'py>(py: Python<'py>, facts: &Tls) -> PyResult<Bound<'py, PyDict>> {
    let tls = PyDict::new(py);
    tls.set_item("server_cert", facts.server_cert.as_deref())?;
    tls.set_item("client_cert_name", facts.client_cert_name.as_deref())?;
    // A client whose certificate has an error gets no connection.
    tls.set_item("client_cert_error", py.None())?;
    tls.set_item("tls_version", facts.version)?;
    tls.set_item("cipher_suite", facts.cipher_suite)?;
    Ok(tls)
}

/// The ends of this connection.
pub(crate) fn ends<'a>(py: Python<'_>, connection: &'a Connection) -> PyResult<&'a Ends> {
    let made = connection.memo.value(|| -> PyResult<Ends> {
        Ok(Ends {
            client: match &connection.peer {
                Endpoint::Tcp(address) => (address.ip().to_string(), address.port())
                    .into_pyobject(py)?
                    .into_any()
                    .unbind(),
                Endpoint::Unix(_) => py.None(),
            },
            server: match &connection.local {
                Endpoint::Tcp(address) => (address.ip().to_canonical().to_string(), address.port())
                    .into_pyobject(py)?
                    .into_any()
                    .unbind(),
                Endpoint::Unix(path) => {
                    let path = path.as_ref().map(|path| path.to_string_lossy());
                    (path, py.None()).into_pyobject(py)?.into_any().unbind()
                }
            },
            tls: match &connection.tls {
                Some(facts) => Some(tls(py, facts)?.unbind()),
                None => None,
            },
        })
    });
    match made {
        Some(Ok(ends)) => Ok(ends),
        Some(Err(error)) => Err(error.clone_ref(py)),
        None => Err(pyo3::exceptions::PyRuntimeError::new_err(
            "the connection's memo holds something else",
        )),
    }
}
