//! Spikard: an HTTP server that runs ASGI applications and Spikard's own API.
//!
//! Floors, each importing only from those above it in this list:
//! `message` (HTTP as values), `routing` and `protocol` (pure rules), `pipeline` (the policy
//! around every handler), `server` (sockets), `bridge` (everything that knows Python; feature
//! `python`).

#[cfg(feature = "python")]
mod bridge;
pub mod message;
pub mod pipeline;
pub mod protocol;
pub mod routing;
pub mod server;
