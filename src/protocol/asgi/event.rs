//! What can be wrong with an event before its protocol's rules are asked (ASGI, "Events").

use thiserror::Error;

/// An event that is not what its type requires.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EventError {
    /// The application sent something that is not a dictionary.
    #[error("expected the event to be a dict, got {got}")]
    NotADict {
        /// The name of the type that came.
        got: String,
    },
    /// No event of this type may be sent in this protocol.
    #[error("expected an event type of the {protocol} protocol, got '{got}'")]
    UnknownType {
        /// `http`, `websocket` or `lifespan`.
        protocol: &'static str,
        /// The type that came.
        got: String,
    },
    /// A mandatory key is absent.
    #[error("expected the key '{key}' in '{event}', got none")]
    MissingKey {
        /// The event's type.
        event: &'static str,
        /// The absent key.
        key: &'static str,
    },
    /// A key's value has another type than the specification gives it.
    #[error("expected '{key}' in '{event}' to be {expected}, got {got}")]
    WrongType {
        /// The event's type.
        event: &'static str,
        /// The key.
        key: &'static str,
        /// What the specification asks for, e.g. `an int`.
        expected: &'static str,
        /// The name of the type that came.
        got: String,
    },
}
