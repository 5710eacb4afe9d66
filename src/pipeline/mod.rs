//! The policy around every handler: a synchronous pipeline without I/O, the same behind every door.
//!
//! Whoever owns the loop calls [`Pipeline::begin`], does what the [`Decision`] says (after
//! [`Decision::Hooks`] it calls [`Pipeline::resume`]), and passes every response, the pipeline's
//! own too, through [`Pipeline::finish`].
//!
//! The order is written once, in `order.rs`. Every policy is one file beside this one; one that is
//! switched off is a `None` that is looked at once.

use std::fmt;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue};

use crate::protocol::websocket::handshake::OriginPolicy;
use crate::routing::RouteTable;

mod api_key;
mod body_limit;
mod clock;
mod coding;
mod compression;
pub mod config;
mod cors;
mod decision;
mod decoder;
mod decompression;
mod encoded_body;
mod encoder;
mod file;
mod file_body;
mod grpc_refusal;
mod hosts;
mod https_redirect;
mod jwt;
mod order;
mod problem;
mod proxy;
mod rate_limit;
mod registration;
mod request_id;
mod response_headers;
mod route;
mod shared_table;
mod static_files;
#[cfg(test)]
mod tests;
mod token_cache;

pub use body_limit::BodyLimit;
pub use clock::{Clock, SystemClock};
pub use coding::{Accepted, Coding};
pub use config::{ConfigError, ErrorFormat, PolicyConfig};
pub use decision::{Decision, Limits, PathSpans, Ticket};
pub use decoder::BodyIn;
pub use encoder::BodyOut;
pub use file::{FileConditions, FileSource, Patience};
pub use file_body::FileBody;
pub use problem::{answer, body_refusal, overloaded, payload_too_large, request_timeout};
pub use registration::Surroundings;
pub use route::{RegisterError, RouteId, RouteOptions};
pub use shared_table::{SharedTable, TABLE_CELLS};
pub use static_files::SendFile;

use api_key::ApiKeys;
use compression::Compression;
use cors::Cors;
use decompression::Decompression;
use hosts::AllowedHosts;
use jwt::Jwt;
use proxy::TrustedProxies;
use rate_limit::RateLimit;
use request_id::RequestIds;
use response_headers::ResponseHeaders;
use route::Route;
use static_files::StaticFiles;

/// All policies of one application and the routes that they stand around.
///
/// `T` is what the owner wants back when a route or mount is chosen.
pub struct Pipeline<T> {
    table: RouteTable<RouteId>,
    /// WebSocket routes: one may share its path with a route that answers GET.
    sockets: RouteTable<RouteId>,
    routes: Vec<Route<T>>,
    has_request_hooks: bool,
    clock: Box<dyn Clock>,
    counts: Option<Arc<SharedTable>>,
    trusted_proxies: Option<TrustedProxies>,
    allowed_hosts: Option<AllowedHosts>,
    socket_origins: OriginPolicy,
    request_ids: Option<RequestIds>,
    cors: Option<Cors>,
    rate_limit: Option<RateLimit>,
    api_keys: Option<ApiKeys>,
    jwt: Option<Jwt>,
    static_files: Option<StaticFiles>,
    compression: Option<Compression>,
    decompression: Option<Decompression>,
    response_headers: Option<ResponseHeaders>,
    https_redirect: bool,
    error_format: ErrorFormat,
    limits: Limits,
    concurrency: Concurrency,
}

/// How many handlers of one worker may run and wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// How many may run at once; `None` for any number.
    pub max_running: Option<u32>,
    /// How many may wait for one to end; more are answered by [`overloaded`].
    pub max_waiting: u32,
}

impl<T> Pipeline<T> {
    /// Returns what was registered under `id`.
    pub fn route(&self, id: RouteId) -> &T {
        &self.routes[id.index()].value
    }

    /// Returns what an endpoint may take whose route says nothing else.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns how many handlers may run and wait; the owner of the loop counts them.
    pub fn concurrency(&self) -> Concurrency {
        self.concurrency
    }
}

impl<T> fmt::Debug for Pipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// Returns the length of a body that its head declares.
pub fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Adds a name to `vary`, unless it is there already.
fn add_vary(headers: &mut HeaderMap, name: HeaderValue) {
    let is_there = headers.get_all(VARY).iter().any(|line| {
        line.to_str().is_ok_and(|line| {
            let mut names = line.split(',').map(str::trim);
            names.any(|own| own == "*" || own.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
        })
    });
    if !is_there {
        headers.append(VARY, name);
    }
}
