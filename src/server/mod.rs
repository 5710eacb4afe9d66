//! Sockets: listeners, connections, protocols, timers and the stop.
//!
//! Everything here runs on the thread of one Tokio `LocalRuntime`; nothing is `Send`. The seam to
//! what is served is [`Application`], the seam to the protocol version is [`Exchange`].

pub mod access_log;
pub mod application;
pub mod batch;
pub mod connection;
pub mod guard;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod listener;
pub mod planted;
pub mod response;
mod room;
pub mod shutdown;
pub mod tls;
pub mod transport;
pub mod watch;
pub mod websocket;

pub use application::{
    Answer, Application, Called, Capabilities, Exchange, Fault, UpgradeHandler, UpgradedIo,
};
