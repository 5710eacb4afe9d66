//! Tests.

mod http2;
mod tls;
