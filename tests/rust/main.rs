//! Tests.

mod http2;
