//! A request's head as Python sees it: nothing is made before it is read.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::host_scope;
use crate::bridge::asgi::scope;
use crate::message::cookie::Cookies;
use crate::message::head::{Connection, Endpoint, Head, Memo, Scheme};
use crate::message::percent;
use crate::message::query::Query;
use crate::pipeline::PathSpans;

/// `spikard._spikard.RequestHead`.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct RequestHead {
    pub(super) head: Arc<Head>,
    root_path: Arc<str>,
    /// The names of the template's parameters, and where their values stand in the raw path.
    names: Arc<[String]>,
    spans: PathSpans,
    request_id: Option<String>,
    claims: Option<Arc<serde_json::Value>>,
}

impl RequestHead {
    pub(super) fn new(head: Arc<Head>, root_path: Arc<str>) -> Self {
        Self {
            head,
            root_path,
            names: Arc::new([]),
            spans: PathSpans::default(),
            request_id: None,
            claims: None,
        }
    }

    /// The head with what the route match found.
    pub(super) fn with_match(mut self, names: &Arc<[String]>, spans: &PathSpans) -> Self {
        self.names = Arc::clone(names);
        self.spans = spans.clone();
        self
    }

    /// The head with what the policies found.
    pub(super) fn with_policies(
        mut self,
        request_id: Option<&str>,
        claims: Option<&Arc<serde_json::Value>>,
    ) -> Self {
        self.request_id = request_id.map(str::to_owned);
        self.claims = claims.cloned();
        self
    }
}

#[pymethods]
impl RequestHead {
    /// A head that no connection of ours brought: from another ASGI server, or from a test.
    #[new]
    #[pyo3(signature = (method, target, headers, *, http_version="1.1", scheme="http", client=None, server=None, root_path=""))]
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the fields of a request, by keyword"
    )]
    fn from_parts(
        method: &str,
        target: &[u8],
        headers: &Bound<'_, PyAny>,
        http_version: &str,
        scheme: &str,
        client: Option<(String, u16)>,
        server: Option<(String, Option<u16>)>,
        root_path: &str,
    ) -> PyResult<Self> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| {
            PyValueError::new_err(format!("expected a method token, got {method:?}"))
        })?;
        let uri = Uri::try_from(target).map_err(|error| {
            let target = target.escape_ascii();
            PyValueError::new_err(format!(
                "expected a request target, got '{target}': {error}"
            ))
        })?;
        let endpoint = |end: Option<(String, Option<u16>)>| match end {
            Some((host, port)) => match host.parse() {
                Ok(ip) => Endpoint::Tcp(SocketAddr::new(ip, port.unwrap_or(0))),
                Err(_) => Endpoint::Unix(Some(host.into())),
            },
            None => Endpoint::Unix(None),
        };
        let connection = Connection {
            peer: endpoint(client.map(|(host, port)| (host, Some(port)))),
            local: endpoint(server),
            scheme: match scheme {
                "https" | "wss" => Scheme::Https,
                _ => Scheme::Http,
            },
            tls: None,
            memo: Memo::default(),
        };
        let head = Head {
            method,
            uri,
            version: match http_version {
                "1.0" => Version::HTTP_10,
                "2" | "2.0" => Version::HTTP_2,
                _ => Version::HTTP_11,
            },
            headers: header_map(headers)?,
            connection: Arc::new(connection),
        };
        Ok(Self::new(Arc::new(head), root_path.into()))
    }

    /// The head of a request of another ASGI server.
    #[staticmethod]
    fn of_scope(scope: &Bound<'_, PyDict>) -> PyResult<Self> {
        let foreign = host_scope::read(scope)?;
        Ok(Self::new(Arc::new(foreign.head), foreign.root_path.into()))
    }

    #[getter]
    fn method(&self) -> &str {
        self.head.method.as_str()
    }

    #[getter]
    fn http_version(&self) -> &'static str {
        match self.head.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        }
    }

    #[getter]
    fn scheme(&self) -> &'static str {
        self.head.connection.scheme.as_str()
    }

    /// The decoded path; what is not UTF-8 was refused before.
    #[getter]
    fn path(&self) -> Cow<'_, str> {
        percent_encoding::percent_decode_str(self.head.raw_path()).decode_utf8_lossy()
    }

    #[getter]
    fn raw_path<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.head.raw_path().as_bytes())
    }

    #[getter]
    fn query_string<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.head.query().as_bytes())
    }

    #[getter]
    pub(super) fn root_path(&self) -> &str {
        &self.root_path
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        scope::headers(py, &self.head.headers)
    }

    #[getter]
    fn client(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(scope::ends(py, &self.head.connection)?.client.clone_ref(py))
    }

    #[getter]
    fn server(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(scope::ends(py, &self.head.connection)?.server.clone_ref(py))
    }

    #[getter]
    fn path_params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        path_params(py, &self.head, &self.names, &self.spans)
    }

    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The verified claims of the request's token, all of them.
    #[getter]
    fn claims<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(claims) = &self.claims else {
            return Ok(None);
        };
        let json = serde_json::to_vec(&**claims)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let decode = py
            .import(intern!(py, "msgspec.json"))?
            .getattr(intern!(py, "decode"))?;
        decode.call1((PyBytes::new(py, &json),)).map(Some)
    }

    /// The first value of a header, latin-1.
    fn header(&self, name: &str) -> Option<String> {
        self.head.headers.get(name).map(latin1)
    }

    /// All values of a header, in order.
    fn header_all(&self, name: &str) -> Vec<String> {
        self.head.headers.get_all(name).iter().map(latin1).collect()
    }

    /// The decoded pairs of the query, in order.
    fn query_pairs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let query = Query::parse(self.head.query())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let pairs = PyList::empty(py);
        for (name, value) in query.pairs() {
            pairs.append(PyTuple::new(py, [name, value])?)?;
        }
        Ok(pairs)
    }

    /// The request's cookies; of a repeated name the first.
    fn cookies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let cookies = PyDict::new(py);
        for (name, value) in Cookies::of(&self.head.headers).pairs() {
            if !cookies.contains(&*name)? {
                cookies.set_item(name, value)?;
            }
        }
        Ok(cookies)
    }
}

/// The raw values of a template's parameters, percent-decoded.
pub(super) fn path_params<'py>(
    py: Python<'py>,
    head: &Head,
    names: &[String],
    spans: &PathSpans,
) -> PyResult<Bound<'py, PyDict>> {
    let params = PyDict::new(py);
    for (index, name) in names.iter().enumerate() {
        if let Some(span) = spans.get(index) {
            let raw = &head.raw_path()[span];
            let value = percent::decode_path(raw).unwrap_or(Cow::Borrowed(raw));
            params.set_item(name, value)?;
        }
    }
    Ok(params)
}

/// A header value as text: every byte is one character (RFC 9110 §5.5).
pub(super) fn latin1(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

/// Header fields from pairs of `bytes`.
pub(super) fn header_map(pairs: &Bound<'_, PyAny>) -> PyResult<HeaderMap> {
    let mut map = HeaderMap::new();
    for pair in pairs.try_iter()? {
        let (name, value): (Bound<'_, PyBytes>, Bound<'_, PyBytes>) = pair?.extract()?;
        let (name, value) = (name.as_bytes(), value.as_bytes());
        let bad = |what: &str, bytes: &[u8]| {
            PyValueError::new_err(format!(
                "expected a header {what}, got '{}'",
                bytes.escape_ascii()
            ))
        };
        map.append(
            HeaderName::from_bytes(name).map_err(|_| bad("name", name))?,
            HeaderValue::from_bytes(value).map_err(|_| bad("value", value))?,
        );
    }
    Ok(map)
}
