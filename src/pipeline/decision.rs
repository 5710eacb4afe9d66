//! What `begin` hands back: the decision about a request, and the ticket that `finish` wants.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response};
use serde_json::Value;

use super::coding::Accepted;
use super::cors::Origin;
use super::decompression::Coded;
use super::rate_limit::Standing;
use super::route::RouteId;
use super::static_files::SendFile;
use crate::message::body::ResponseBody;
use crate::routing::PathParams;

/// What the owner of the loop does next.
#[derive(Debug)]
pub enum Decision<'pipeline, T> {
    /// Send this response, after `finish`.
    Respond(Response<ResponseBody>),
    /// Open this file ([`SendFile::open_cached`], else [`SendFile::open`] off the loop's thread)
    /// and send what it answers, after `finish`.
    SendFile(SendFile),
    /// Call this route's endpoint.
    Handle {
        /// What was registered with the route.
        route: &'pipeline T,
        /// Which route it is.
        id: RouteId,
        /// Where its path parameters are, in the template's order.
        params: PathSpans,
        /// What the endpoint may take.
        limits: Limits,
    },
    /// Call this mounted application.
    Mounted {
        /// What was registered with the mount.
        mount: &'pipeline T,
        /// Which mount it is.
        id: RouteId,
        /// How many bytes of the raw path its prefix takes; what follows is empty or begins with
        /// `/`.
        prefix_len: usize,
        /// What the application may take.
        limits: Limits,
    },
    /// Run the application's `on_request` hooks, then `resume`, unless one of them answered.
    Hooks,
}

/// What the endpoint of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body in bytes, counted as it is read; `None` for no limit.
    pub max_body_bytes: Option<u64>,
    /// The time until the head of the response is there; `None` for no limit.
    pub request_timeout: Option<Duration>,
}

/// Where path parameters stand in the raw path; owned, so that the head stays free.
#[derive(Clone, Default)]
pub struct PathSpans {
    inline: [(u32, u32); INLINE_SPANS],
    len: usize,
    /// All of them, once there are more than fit inline.
    spilled: Vec<(u32, u32)>,
}

/// As many as the routing table keeps inline.
const INLINE_SPANS: usize = 4;

impl PathSpans {
    /// Notes where the values of `params` stand in `raw_path`, of which they are slices.
    pub(super) fn new(raw_path: &str, params: &PathParams<'_>) -> Self {
        let mut spans = Self::default();
        for value in params.iter() {
            let start = value.as_ptr().addr() - raw_path.as_ptr().addr();
            spans.push((offset(start), offset(start + value.len())));
        }
        spans
    }

    /// Returns how many parameters there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether the template has no parameters.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns where the parameter at `index` of the template stands in the raw path.
    pub fn get(&self, index: usize) -> Option<Range<usize>> {
        let all = if self.spilled.is_empty() {
            &self.inline[..self.len]
        } else {
            &self.spilled[..]
        };
        all.get(index)
            .map(|&(start, end)| start as usize..end as usize)
    }

    fn push(&mut self, span: (u32, u32)) {
        if self.len < INLINE_SPANS {
            self.inline[self.len] = span;
        } else {
            if self.spilled.is_empty() {
                self.spilled.extend_from_slice(&self.inline);
            }
            self.spilled.push(span);
        }
        self.len += 1;
    }
}

impl fmt::Debug for PathSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries((0..self.len).filter_map(|index| self.get(index)))
            .finish()
    }
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("`http::Uri` holds at most 64 KiB")
}

/// What the pipeline remembers of a request between `begin` and `finish`.
#[derive(Debug, Default)]
pub struct Ticket {
    pub(super) route: Option<RouteId>,
    /// A response to HEAD has no body, whatever its fields say.
    pub(super) is_head: bool,
    pub(super) is_https: bool,
    pub(super) kind: RequestKind,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) accepted: Accepted,
    pub(super) origin: Origin,
    pub(super) standing: Option<Standing>,
    /// Which of the configured keys the request has shown.
    pub(super) api_key: Option<u32>,
    pub(super) claims: Option<Arc<Value>>,
    pub(super) body: Coded,
}

/// What a request is, beyond an HTTP request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RequestKind {
    #[default]
    Http,
    /// A gRPC call: the client reads gRPC statuses only.
    Grpc,
    /// The handshake of a WebSocket.
    WebSocket,
}

impl Ticket {
    /// Returns the route that matched, once `begin` or `resume` has looked for it.
    pub fn route(&self) -> Option<RouteId> {
        self.route
    }

    /// Returns the request's id, `None` when ids are switched off.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|id| id.to_str().ok())
    }

    /// Whether an application may answer in the policies' place: clients of gRPC read statuses
    /// only.
    pub fn may_be_answered(&self) -> bool {
        self.kind != RequestKind::Grpc
    }

    /// Returns the verified claims of the request's token, all of them.
    pub fn claims(&self) -> Option<&Arc<Value>> {
        self.claims.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_keep_every_parameter_in_order() {
        let path = "/a/bb/ccc/dddd/eeeee/f";
        for count in 0..=6 {
            let mut spans = PathSpans::default();
            let mut at = 1;
            let values: Vec<&str> = path[1..].split('/').take(count).collect();
            for value in &values {
                spans.push((offset(at), offset(at + value.len())));
                at += value.len() + 1;
            }
            let found: Vec<&str> = (0..spans.len())
                .map(|index| &path[spans.get(index).unwrap()])
                .collect();
            assert_eq!(found, values);
            assert_eq!(spans.get(count), None);
        }
    }
}
