//! The WebSocket protocol (RFC 6455, over HTTP/2 RFC 8441): handshake, frames and close codes.
//!
//! The frames are our own and not tungstenite's, because the rules want every violation named
//! when its first byte comes, not when its frame is complete: see `docs/decisions.md`.

pub mod close;
pub mod frame;
pub mod handshake;
mod utf8;
