//! Values that only their own thread may touch, inside Python objects that may end on any thread.
//!
//! Whoever drops the last reference to a Python object destroys it: the garbage collector of
//! another thread, or a thread that was handed an exception whose frames hold it. pyo3's
//! `unsendable` reports an error then. Here the value stays where it is, unreachable: what costs
//! something, the runtime and its sockets, has been taken out of it by then with `close` or `stop`.

#![expect(
    unsafe_code,
    reason = "the thread is checked at run time instead of by the compiler"
)]

use std::mem::ManuallyDrop;
use std::thread::{self, ThreadId};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A `T` of the thread that made it.
pub(crate) struct Confined<T> {
    owner: ThreadId,
    value: ManuallyDrop<T>,
}

// SAFETY: `get`, `get_mut` and `drop` let no other thread than the owner at the value.
unsafe impl<T> Send for Confined<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Confined<T> {}

impl<T> Confined<T> {
    /// Confines a value to this thread.
    pub(crate) fn new(value: T) -> Self {
        Self {
            owner: thread::current().id(),
            value: ManuallyDrop::new(value),
        }
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// `RuntimeError` on another thread.
    pub(crate) fn get(&self) -> PyResult<&T> {
        self.check().map(|()| &*self.value)
    }

    /// The value, to change it.
    ///
    /// # Errors
    ///
    /// `RuntimeError` on another thread.
    pub(crate) fn get_mut(&mut self) -> PyResult<&mut T> {
        self.check()?;
        Ok(&mut self.value)
    }

    fn check(&self) -> PyResult<()> {
        if thread::current().id() == self.owner {
            Ok(())
        } else {
            let message = "expected a call from the thread that the server runs on";
            Err(PyRuntimeError::new_err(message))
        }
    }
}

impl<T> Drop for Confined<T> {
    fn drop(&mut self) {
        if thread::current().id() == self.owner {
            // SAFETY: it is dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}
