//! `spikard._spikard.Filter`: the encoding of bodies that other doors send.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::pipeline::BodyOut;

/// A body of this many bytes is encoded off the loop's thread, and a chunk of it without the GIL.
pub(super) const OFFLOAD_FROM: usize = 64 * 1024;

/// What all chunks of a streamed response go through: each comes out complete, so that the client
/// can read it at once.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Filter {
    pub(super) filter: Mutex<BodyOut>,
}

#[pymethods]
impl Filter {
    /// A whole body as it is to be sent.
    fn whole<'py>(&self, py: Python<'py>, body: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let encoded = py.detach(|| {
            let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
            encode_whole(&mut filter, body)
        })?;
        Ok(PyBytes::new(py, &encoded))
    }

    /// The bytes to send for this chunk.
    fn push<'py>(&self, py: Python<'py>, chunk: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let push = || {
            let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
            filter.push(chunk)
        };
        let encoded = if chunk.len() < OFFLOAD_FROM {
            push()?
        } else {
            py.detach(push)?
        };
        Ok(PyBytes::new(py, &encoded))
    }

    /// The bytes to send after the last chunk.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(PyBytes::new(py, &filter.finish()?))
    }
}

pub(super) fn encode_whole(filter: &mut BodyOut, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoded = filter.push(body)?.to_vec();
    encoded.extend_from_slice(&filter.finish()?);
    Ok(encoded)
}
