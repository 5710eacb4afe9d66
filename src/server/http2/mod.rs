//! HTTP/2 (RFC 9113) on the `h2` crate, with the limits that `h2` leaves to its user.
//!
//! One task serves the connection ([`serve`]), its `driver` drives `h2`; each request starts inside
//! it and moves to a task of its own only when it has to wait. `meter` counts the frames that come in before `h2` sees
//! them, `request` turns a stream's fields into a `Head`, `stream` sends the answer. A connection
//! that idles drops `h2` and keeps a `ledger`, from which it begins again.

mod connection;
mod date;
mod driver;
mod exchange;
mod frames;
mod keep_alive;
mod ledger;
mod limits;
mod meter;
mod request;
mod stall;
mod stream;
mod streams;
mod table;
mod upgraded;
mod waker;
mod wire;

pub use connection::{Preface, serve};
pub use frames::PREFACE;
pub use limits::{Budget, Http2Limits};
pub use wire::HeldFrames;
