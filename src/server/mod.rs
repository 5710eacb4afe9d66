//! Sockets: listeners, connections, protocols, timers and the stop.
//!
//! Everything here runs on the thread of one Tokio `LocalRuntime`; nothing is `Send`. The seam to
//! what is served is [`Application`], the seam to the protocol version is [`Exchange`].

pub mod application;
pub mod shutdown;

pub use application::{Answer, Application, Capabilities, Exchange, UpgradeHandler, UpgradedIo};
