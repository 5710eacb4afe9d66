//! Tests.

mod http2;
mod tls;
mod websocket;
