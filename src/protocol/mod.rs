//! The rules of the protocols that ride on HTTP, as pure state machines: no sockets, no Python.

pub mod asgi;
pub mod grpc;
pub mod sse;
pub mod websocket;
