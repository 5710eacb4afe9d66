//! `spikard._spikard.Schema`: a compiled JSON Schema, for routes that declare raw schemas.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use serde_json::Value;

use crate::message::schema;

/// A compiled schema. Documents cross as JSON text, which both sides have at hand.
#[pyclass(frozen, module = "spikard._spikard")]
pub(super) struct Schema {
    schema: schema::Schema,
}

#[pymethods]
impl Schema {
    /// `source` is the schema as JSON; `ValueError` when it is not a valid schema.
    #[new]
    fn new(source: &[u8]) -> PyResult<Self> {
        let schema = schema::Schema::compile(parsed(source)?)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { schema })
    }

    /// The violations of a JSON document, `[{"type", "loc", "msg", "input", "ctx"}]`; `loc` begins
    /// with `"body"`.
    fn check<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let document = parsed(data)?;
        let Err(errors) = py.detach(|| self.schema.validate(&document)) else {
            return Ok(PyList::empty(py).into_any());
        };
        let errors: Value = errors.into_iter().map(Value::from).collect();
        let json = PyBytes::new(py, errors.to_string().as_bytes());
        py.import(intern!(py, "msgspec.json"))?
            .call_method1(intern!(py, "decode"), (json,))
    }
}

fn parsed(json: &[u8]) -> PyResult<Value> {
    serde_json::from_slice(json)
        .map_err(|error| PyValueError::new_err(format!("expected JSON: {error}")))
}
