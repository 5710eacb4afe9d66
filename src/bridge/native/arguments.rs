//! A request's values as the arguments of a handler: the quick pass.
//!
//! It stops at the first value that does not fit and says only that; the slow pass in Python
//! (`RouteSpec.explain`) then finds out everything that is wrong.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::endpoint::{Absent, Arg, Endpoint, Kind, Source};
use super::head::latin1;
use crate::bridge::buffer::Buffer;
use crate::message::cookie::Cookies;
use crate::message::head::Head;
use crate::message::media_type::MediaType;
use crate::message::percent;
use crate::message::query::Query;
use crate::pipeline::PathSpans;

/// A body from this many bytes on is lent to the decoder, a shorter one is copied: the copy costs
/// less than the object that lends.
const LEND_FROM: usize = 4 * 1024;

/// What keeps the handler from being called.
pub(super) enum Misfit {
    /// The body's decoder refused it.
    Body,
    /// Some other value does not fit, something is missing, or the body has another media type.
    Other,
}

/// What the quick pass reads.
pub(super) struct Given<'a, 'py> {
    pub(super) head: &'a Head,
    pub(super) spans: &'a PathSpans,
    pub(super) body: Option<&'a Bytes>,
    pub(super) request: Option<&'a Bound<'py, PyAny>>,
}

/// The arguments of a call, up to four without a tuple.
pub(super) fn call<'py>(
    py: Python<'py>,
    endpoint: &Endpoint,
    given: &Given<'_, 'py>,
) -> PyResult<Result<Bound<'py, PyAny>, Misfit>> {
    if let (Some(plan), Some(body)) = (&endpoint.body, given.body)
        && plan.is_json
        // The decoder does not look into members that it skips.
        && (!is_json(given.head) || is_coded(given.head) || std::str::from_utf8(body).is_err())
    {
        return Ok(Err(Misfit::Other));
    }
    let call = endpoint.call.bind(py);
    let mut values = given.values(py, &endpoint.args);
    macro_rules! next {
        () => {
            match values.next() {
                Some(Ok(value)) => value,
                Some(Err(misfit)) => return Ok(Err(misfit)),
                None => return Ok(Err(Misfit::Other)),
            }
        };
    }
    let result = match endpoint.args.len() {
        0 => call.call0(),
        1 => call.call1((next!(),)),
        2 => call.call1((next!(), next!())),
        3 => call.call1((next!(), next!(), next!())),
        4 => call.call1((next!(), next!(), next!(), next!())),
        _ => match values.collect::<Result<Vec<_>, _>>() {
            Ok(values) => call.call1(PyTuple::new(py, values)?),
            Err(misfit) => return Ok(Err(misfit)),
        },
    };
    result.map(Ok)
}

fn is_coded(head: &Head) -> bool {
    head.headers.contains_key(CONTENT_ENCODING)
}

/// Whether the body may be decoded as JSON: an absent media type counts as that.
fn is_json(head: &Head) -> bool {
    let Some(value) = head.headers.get(CONTENT_TYPE) else {
        return true;
    };
    if value == "application/json" {
        return true;
    }
    value
        .to_str()
        .ok()
        .and_then(MediaType::parse)
        .is_some_and(|media| media.is_json() && media.is_utf8())
}

impl<'a, 'py> Given<'a, 'py> {
    fn values(
        &'a self,
        py: Python<'py>,
        args: &'a [Arg],
    ) -> impl Iterator<Item = Result<Bound<'py, PyAny>, Misfit>> + use<'a, 'py> {
        args.iter().map(move |arg| self.value(py, arg))
    }

    fn value(&self, py: Python<'py>, arg: &Arg) -> Result<Bound<'py, PyAny>, Misfit> {
        match &arg.source {
            Source::Path(index) => {
                let span = self.spans.get(*index).ok_or(Misfit::Other)?;
                let raw = &self.head.raw_path()[span];
                let text = percent::decode_path(raw).map_err(|_| Misfit::Other)?;
                arg.kind.convert(py, &text)
            }
            Source::Query(name) => {
                let query = self.head.query();
                if query.is_empty() {
                    return arg.absent(py);
                }
                let query = Query::parse(query).map_err(|_| Misfit::Other)?;
                if arg.many {
                    let mut values = query.all(name).peekable();
                    if values.peek().is_none() {
                        // The other spelling of a repeated key, `ids[]=1&ids[]=2`.
                        return arg.list(py, query.all(&format!("{name}[]")));
                    }
                    return arg.list(py, values);
                }
                match query.all(name).last() {
                    Some(text) => arg.kind.convert(py, &text),
                    None => arg.absent(py),
                }
            }
            Source::Header(name) => {
                let mut values = self.head.headers.get_all(name).iter().map(latin1);
                if arg.many {
                    return arg.list(py, values.map(Cow::Owned));
                }
                match values.next() {
                    Some(text) => arg.kind.convert(py, &text),
                    None => arg.absent(py),
                }
            }
            Source::Cookie(name) => match Cookies::of(&self.head.headers).first(name) {
                Some(text) => arg.kind.convert(py, &text),
                None => arg.absent(py),
            },
            Source::Body => match self.body {
                Some(body) if !body.is_empty() => arg.kind.decode(py, body),
                _ => arg.absent(py),
            },
            Source::Request => {
                let request = self.request.ok_or(Misfit::Other)?;
                match &arg.kind {
                    Kind::Convert(convert) => convert
                        .bind(py)
                        .call1((request,))
                        .map_err(|_| Misfit::Other),
                    _ => Ok(request.clone()),
                }
            }
        }
    }
}

impl Arg {
    fn absent<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>, Misfit> {
        match &self.absent {
            Absent::Missing => Err(Misfit::Other),
            Absent::Value(value) => Ok(value.bind(py).clone()),
            Absent::Factory(factory) => factory.bind(py).call0().map_err(|_| Misfit::Other),
        }
    }

    fn list<'py, 'text>(
        &self,
        py: Python<'py>,
        values: impl Iterator<Item = Cow<'text, str>>,
    ) -> Result<Bound<'py, PyAny>, Misfit> {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return self.absent(py);
        }
        let list = PyList::empty(py);
        for text in values {
            let value = match &self.kind {
                Kind::Convert(_) => PyString::new(py, &text).into_any(),
                kind => kind.convert(py, &text)?,
            };
            list.append(value).map_err(|_| Misfit::Other)?;
        }
        match &self.kind {
            Kind::Convert(convert) => convert.bind(py).call1((list,)).map_err(|_| Misfit::Other),
            _ => Ok(list.into_any()),
        }
    }
}

impl Kind {
    fn convert<'py>(&self, py: Python<'py>, text: &str) -> Result<Bound<'py, PyAny>, Misfit> {
        match self {
            Self::Str | Self::AsIs => Ok(PyString::new(py, text).into_any()),
            Self::Int => int(py, text),
            Self::Float => {
                let is_plain = text.bytes().all(|byte| {
                    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')
                });
                let number: f64 = text.parse().map_err(|_| Misfit::Other)?;
                if !is_plain || !number.is_finite() {
                    return Err(Misfit::Other);
                }
                Ok(number
                    .into_pyobject(py)
                    .map_err(|_| Misfit::Other)?
                    .into_any())
            }
            Self::Bool => {
                let is =
                    |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
                let value = if is(["true", "1", "yes", "on"]) {
                    true
                } else if is(["false", "0", "no", "off"]) {
                    false
                } else {
                    return Err(Misfit::Other);
                };
                Ok(pyo3::types::PyBool::new(py, value).to_owned().into_any())
            }
            Self::Uuid => {
                static UUID: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                if !matches!(text.len(), 32 | 36) || uuid::Uuid::try_parse(text).is_err() {
                    return Err(Misfit::Other);
                }
                let class = UUID.import(py, "uuid", "UUID").map_err(|_| Misfit::Other)?;
                class.call1((text,)).map_err(|_| Misfit::Other)
            }
            Self::Convert(convert) => convert.bind(py).call1((text,)).map_err(|_| Misfit::Other),
        }
    }

    fn decode<'py>(&self, py: Python<'py>, body: &Bytes) -> Result<Bound<'py, PyAny>, Misfit> {
        let data = if body.len() < LEND_FROM {
            PyBytes::new(py, body).into_any()
        } else {
            let lent = Bound::new(py, Buffer::new(body.clone())).map_err(|_| Misfit::Other)?;
            lent.into_any()
        };
        match self {
            Self::Convert(convert) => convert.bind(py).call1((data,)).map_err(|_| Misfit::Body),
            _ => Ok(data),
        }
    }
}

/// Digits with an optional minus sign, of any length.
fn int<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyAny>, Misfit> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // 4,300 digits is where Python itself stops (CVE-2020-10735); the slow pass says so.
    if digits.is_empty() || digits.len() > 4300 || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Misfit::Other);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(number
            .into_pyobject(py)
            .map_err(|_| Misfit::Other)?
            .into_any());
    }
    let class = py.get_type::<pyo3::types::PyInt>();
    class.call1((text,)).map_err(|_| Misfit::Other)
}
