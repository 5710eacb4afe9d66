//! A route as the bridge runs it: read once from Python's `RouteSpec`, then only used.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::routing::Template;

/// A compiled route.
pub(crate) struct Endpoint {
    pub(super) call: Py<PyAny>,
    pub(super) is_async: bool,
    pub(super) args: Box<[Arg]>,
    pub(super) body: Option<BodyPlan>,
    pub(super) encode: Py<PyAny>,
    pub(super) status: StatusCode,
    /// Of an encoded result; `None` when such an answer has no body.
    pub(super) media_type: Option<HeaderValue>,
    pub(super) explain: Py<PyAny>,
    pub(super) fail: Py<PyAny>,
    /// The names of the template's parameters, in its order.
    pub(super) names: Arc<[String]>,
    pub(super) is_websocket: bool,
    /// The `BoundRoute`, for scopes that name it.
    pub(super) route: Py<PyAny>,
    /// The user's function, for the same scopes.
    pub(super) handler: Py<PyAny>,
    wants_request: bool,
}

/// How the body is read before the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyPlan {
    pub(super) is_json: bool,
}

/// One argument of the call.
pub(super) struct Arg {
    pub(super) source: Source,
    pub(super) kind: Kind,
    pub(super) absent: Absent,
    /// All values of the key, as a list.
    pub(super) many: bool,
}

/// Where an argument comes from.
pub(super) enum Source {
    /// The parameter at this index of the template.
    Path(usize),
    Query(String),
    Header(HeaderName),
    Cookie(String),
    Body,
    Request,
}

/// How its text becomes a value.
pub(super) enum Kind {
    Str,
    Int,
    Float,
    Bool,
    Uuid,
    Convert(Py<PyAny>),
    /// As it is: a request, a raw body.
    AsIs,
}

/// What stands for it when it is not there.
pub(super) enum Absent {
    Missing,
    Value(Py<PyAny>),
    Factory(Py<PyAny>),
}

impl Endpoint {
    /// Reads a `RouteSpec`.
    pub(super) fn from_spec(spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let path: String = spec.getattr("path")?.extract()?;
        let template =
            Template::parse(&path).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let names: Arc<[String]> = template
            .params()
            .iter()
            .map(|param| param.name.clone())
            .collect();
        let args: Box<[Arg]> = spec
            .getattr("args")?
            .try_iter()?
            .map(|arg| Arg::from_spec(&arg?, &names))
            .collect::<PyResult<_>>()?;
        let body = spec.getattr("body")?;
        let body = if body.is_none() {
            None
        } else {
            let media: String = body.getattr("media")?.extract()?;
            Some(BodyPlan {
                is_json: media == "json",
            })
        };
        let status: u16 = spec.getattr("status_code")?.extract()?;
        let media_type: Vec<u8> = spec.getattr("media_type")?.extract()?;
        let protocol = spec.getattr("protocol")?;
        let route = spec.getattr("route")?;
        let handler = if route.is_none() {
            route.clone()
        } else {
            route.getattr("endpoint")?
        };
        Ok(Self {
            call: spec.getattr("call")?.unbind(),
            is_async: spec.getattr("is_async")?.is_truthy()?,
            wants_request: args.iter().any(|arg| matches!(arg.source, Source::Request)),
            args,
            body,
            encode: spec.getattr("encode")?.unbind(),
            status: StatusCode::from_u16(status).map_err(|_| {
                PyValueError::new_err(format!("status_code: expected 200 to 599, got {status}"))
            })?,
            media_type: match media_type.as_slice() {
                [] => None,
                bytes => {
                    Some(HeaderValue::from_bytes(bytes).map_err(|_| {
                        PyValueError::new_err("media_type: expected a header value")
                    })?)
                }
            },
            explain: spec.getattr("explain")?.unbind(),
            fail: spec.getattr("fail")?.unbind(),
            names,
            is_websocket: protocol.cast::<PyString>()?.to_str()? == "websocket",
            route: route.unbind(),
            handler: handler.unbind(),
        })
    }
}

impl Endpoint {
    /// Whether the call reads all else from the request that it takes.
    pub(super) fn takes_request_only(&self) -> bool {
        let mut sources = self.args.iter().map(|arg| &arg.source);
        sources.all(|source| matches!(source, Source::Request))
    }

    /// Whether the call takes the request itself.
    pub(super) fn wants_request(&self) -> bool {
        self.wants_request
    }
}

impl Arg {
    fn from_spec(spec: &Bound<'_, PyAny>, names: &[String]) -> PyResult<Self> {
        let source: String = spec.getattr("source")?.extract()?;
        let name: String = spec.getattr("name")?.extract()?;
        let kind: String = spec.getattr("kind")?.extract()?;
        let convert = spec.getattr("convert")?;
        let source = match source.as_str() {
            "path" => Source::Path(names.iter().position(|known| *known == name).ok_or_else(
                || PyValueError::new_err(format!("the template has no parameter '{name}'")),
            )?),
            "query" => Source::Query(name),
            "header" => Source::Header(HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                PyValueError::new_err(format!("expected a header name, got '{name}'"))
            })?),
            "cookie" => Source::Cookie(name),
            "body" => Source::Body,
            "request" => Source::Request,
            other => {
                return Err(PyValueError::new_err(format!(
                    "unknown source '{other}' of '{name}'"
                )));
            }
        };
        let is_text = !matches!(source, Source::Request | Source::Body);
        let kind = match kind.as_str() {
            "str" if is_text => Kind::Str,
            "int" => Kind::Int,
            "float" => Kind::Float,
            "bool" => Kind::Bool,
            "uuid" => Kind::Uuid,
            _ if convert.is_none() => Kind::AsIs,
            _ => Kind::Convert(convert.unbind()),
        };
        let factory = spec.getattr("default_factory")?;
        let absent = if spec.getattr("required")?.is_truthy()? {
            Absent::Missing
        } else if factory.is_none() {
            Absent::Value(spec.getattr("default")?.unbind())
        } else {
            Absent::Factory(factory.unbind())
        };
        Ok(Self {
            source,
            kind,
            absent,
            many: spec.getattr("many")?.is_truthy()?,
        })
    }
}
