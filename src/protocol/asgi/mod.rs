//! ASGI 3.0 (HTTP and WebSocket 2.5): which event an application may send when, and what it means.
//!
//! The door parses an event into the `SendEvent` of its protocol (what that parsing can find
//! wrong is an [`EventError`]), hands it to the state machine and does what the answer says.

pub mod event;
pub mod fields;
pub mod http;
pub mod websocket;

pub use event::EventError;
pub use fields::{FieldError, Fields};
