//! The bridge to Python: everything that names `pyo3`, and nothing else does.

mod afterwork;
mod allocator;
mod asgi;
mod awaitable;
mod buffer;
mod confined;
mod control;
mod descriptor;
mod errors;
mod exact;
mod gil;
mod misfits;
mod multipart;
mod native;
mod outlet;
mod reactor;
mod registry;
mod schema;
mod server;
mod shared_counts;
mod sse;
mod task;
mod transport;
mod websocket;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::message::number;
use crate::protocol::sse::KEEP_ALIVE;

/// The extension module `spikard._spikard`.
#[pymodule]
fn _spikard(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<reactor::Reactor>()?;
    module.add_class::<transport::SocketIo>()?;
    module.add_class::<server::AsgiServer>()?;
    module.add_class::<server::NativeServer>()?;
    module.add_class::<native::Core>()?;
    module.add_class::<native::Peer>()?;
    module.add_class::<native::RequestHead>()?;
    module.add_class::<native::Call>()?;
    module.add_class::<native::BodyDecoder>()?;
    module.add_class::<native::Filter>()?;
    module.add_class::<native::FilePieces>()?;
    module.add_class::<native::Source>()?;
    module.add_class::<native::Sink>()?;
    module.add("COUNTS_BYTES", shared_counts::COUNTS_BYTES)?;
    module.add_class::<schema::Schema>()?;
    module.add_class::<exact::Exact>()?;
    module.add_class::<misfits::Misfits>()?;
    module.add_class::<multipart::MultipartParser>()?;
    module.add("KEEP_ALIVE_COMMENT", PyBytes::new(module.py(), KEEP_ALIVE))?;
    module.add_function(wrap_pyfunction!(sse::encode_event, module)?)?;
    module.add_function(wrap_pyfunction!(may_hold_whole_fraction, module)?)?;
    Ok(())
}

/// See [`number::may_hold_whole_fraction`].
#[pyfunction]
fn may_hold_whole_fraction(json: &[u8]) -> bool {
    number::may_hold_whole_fraction(json)
}
