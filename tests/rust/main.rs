//! Tests.

mod http1;
mod http2;
mod idle;
mod tls;
mod websocket;
