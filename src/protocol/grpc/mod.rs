//! gRPC over HTTP/2 (PROTOCOL-HTTP2.md of the gRPC project): framing, deadlines, metadata and
//! status, without the streams that carry them.

pub mod frame;
pub mod metadata;
pub mod request;
pub mod status;

pub use status::{Code, Status};
