//! Bytes across the wall: Python's to the socket, the socket's to Python.

use bytes::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Below this many bytes a copy is cheaper than keeping a Python object alive: an allocation of
/// either kind is needed, but an owner must take the GIL again to be dropped.
const COPY_BELOW: usize = 4 * 1024;

/// A `bytes` object on its way to the socket.
struct Owner(Py<PyBytes>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        Python::attach(|py| {
            let bytes: *const [u8] = self.0.as_bytes(py);
            #[expect(unsafe_code, reason = "a bytes object never moves or changes its contents")]
            // SAFETY: `self` keeps the object alive, and `bytes` is immutable.
            unsafe {
                &*bytes
            }
        })
    }
}

/// The bytes of a `bytes` object: shared with it when they are many.
pub(crate) fn from_bytes(bytes: &Bound<'_, PyBytes>) -> Bytes {
    let slice = bytes.as_bytes();
    if slice.len() < COPY_BELOW {
        Bytes::copy_from_slice(slice)
    } else {
        Bytes::from_owner(Owner(bytes.clone().unbind()))
    }
}

/// The bytes of any bytes-like object: shared when it is `bytes`, copied when it could change.
pub(crate) fn from_bytes_like(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(from_bytes(bytes));
    }
    let buffer = PyBuffer::<u8>::get(object)?;
    Ok(Bytes::from(buffer.to_vec(object.py())?))
}
