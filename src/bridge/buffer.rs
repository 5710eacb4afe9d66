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
            #[expect(
                unsafe_code,
                reason = "a bytes object never moves or changes its contents"
            )]
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

/// Bytes of the server lent to Python through the buffer protocol: read only, never copied.
#[pyclass(frozen, module = "spikard._spikard")]
pub(crate) struct Buffer {
    bytes: Bytes,
}

impl Buffer {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }
}

#[expect(unsafe_code, reason = "the buffer protocol is an unsafe C interface")]
#[pymethods]
impl Buffer {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is the protocol's signature"
    )]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut pyo3::ffi::Py_buffer,
        flags: std::ffi::c_int,
    ) -> PyResult<()> {
        let bytes = &slf.get().bytes;
        let length = isize::try_from(bytes.len())?;
        // SAFETY: `view` is the interpreter's; the view keeps `slf` alive, whose bytes never move
        // or change, and the interpreter checks `flags` against a read-only buffer.
        let filled = unsafe {
            pyo3::ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                length,
                1,
                flags,
            )
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }

    fn __len__(&self) -> usize {
        self.bytes.len()
    }
}
