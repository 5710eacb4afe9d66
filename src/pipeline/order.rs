//! A request's way through the policies, from its head to the head of its response.
//!
//! THE ORDER, written once: request id → `on_request` hooks → route match (404 and 405 held back)
//! → CORS, a WebSocket's origin → rate limit by IP or global → API key → JWT → rate limit by key or
//! claim → static file, 404, 405 → body limit → *endpoint* → `on_response` / `on_error` →
//! compression → response headers → access log.

use http::{HeaderMap, HeaderName, HeaderValue, Method, response};

use super::body_limit::declared_too_large;
use super::coding::{Accepted, Coding};
use super::compression::Compression;
use super::config::ErrorFormat;
use super::decision::{Decision, PathSpans, RequestKind, Ticket};
use super::decoder::BodyIn;
use super::decompression::Coded;
use super::encoder::BodyOut;
use super::problem::{Answer, answer, forbidden, payload_too_large};
use super::request_id::X_REQUEST_ID;
use super::route::{RouteId, RoutePolicy};
use super::{Pipeline, declared_length, grpc_refusal, https_redirect, problem, static_files};
use crate::message::body::ResponseBody;
use crate::message::head::{Head, Scheme};
use crate::message::percent::decode_path;
use crate::message::problem::Problem;
use crate::message::query::Query;
use crate::protocol::grpc::request::is_call;
use crate::routing::Lookup;

impl<T> Pipeline<T> {
    /// Says whether a mount is what a request is for, before any policy has been asked.
    pub fn leads_to_mount(&self, head: &Head, is_websocket: bool) -> bool {
        let kind = if is_websocket {
            RequestKind::WebSocket
        } else {
            RequestKind::Http
        };
        matches!(self.target(head, kind), Target::Mount(..))
    }

    /// Puts the request's id into its own fields, for an application that reads it there.
    pub fn tell_request_id(&self, ticket: &Ticket, headers: &mut HeaderMap) {
        if let Some(id) = &ticket.request_id {
            headers.insert(X_REQUEST_ID, id.clone());
        }
    }

    /// Decides about a request, as far as the `on_request` hooks if there are any.
    ///
    /// The head may change: a trusted proxy's word replaces the connection's facts, fields that
    /// only this server may set are dropped, and so is the coding of a body that goes through
    /// [`Pipeline::body_in`].
    pub fn begin(&self, head: &mut Head) -> (Ticket, Decision<'_, T>) {
        let is_grpc = head.method == Method::POST && is_call(&head.headers);
        let kind = if is_grpc {
            RequestKind::Grpc
        } else {
            RequestKind::Http
        };
        self.begin_as(head, kind)
    }

    /// As [`Pipeline::begin`], for a request that is the handshake of a WebSocket. Where no
    /// WebSocket route matches it is treated as an ordinary request (RFC 9110 §7.8).
    pub fn begin_websocket(&self, head: &mut Head) -> (Ticket, Decision<'_, T>) {
        self.begin_as(head, RequestKind::WebSocket)
    }

    fn begin_as(&self, head: &mut Head, kind: RequestKind) -> (Ticket, Decision<'_, T>) {
        if let Some(proxies) = &self.trusted_proxies {
            proxies.apply(head);
        }
        let mut ticket = Ticket {
            is_head: head.method == Method::HEAD,
            kind,
            is_https: head.connection.scheme == Scheme::Https,
            request_id: self
                .request_ids
                .as_ref()
                .map(|ids| ids.assign(&head.headers)),
            ..Ticket::default()
        };
        if self.compression.is_some() {
            ticket.accepted = Accepted::new(&head.headers);
        }
        if self.jwt.is_some() {
            head.headers.remove(CLAIMS_HEADER);
        }
        if let Some(decompression) = &self.decompression {
            ticket.body = decompression.claim(&mut head.headers);
        }
        if self
            .allowed_hosts
            .as_ref()
            .is_some_and(|hosts| !hosts.allows(head))
        {
            let refused = answer(&Problem::bad_request("Host is not served here"));
            return (ticket, Decision::Respond(refused));
        }
        if self.https_redirect
            && !ticket.is_https
            && let Some(redirect) = https_redirect::redirect(head)
        {
            return (ticket, Decision::Respond(redirect));
        }
        if self.has_request_hooks {
            if let Some(cors) = &self.cors {
                // For the case that a hook answers.
                ticket.origin = cors.origin(head);
            }
            return (ticket, Decision::Hooks);
        }
        let decision = self.resume(head, &mut ticket);
        (ticket, decision)
    }

    /// Decides about a request whose `on_request` hooks have run; `head` is as they left it.
    pub fn resume(&self, head: &Head, ticket: &mut Ticket) -> Decision<'_, T> {
        let target = self.target(head, ticket.kind);
        ticket.route = target.route();
        match self.admit(head, ticket, &target) {
            Some(refused) => Decision::Respond(refused),
            None => self.arrive(head, ticket, target),
        }
    }

    /// Returns what all pieces of the request's body go through before anybody reads them, if
    /// they do.
    pub fn body_in(&self, ticket: &Ticket) -> Option<BodyIn> {
        let decompression = self.decompression.as_ref()?;
        match ticket.body {
            Coded::Known { coding, .. } => Some(decompression.decoder(coding)),
            Coded::Plain | Coded::Unknown => None,
        }
    }

    /// Whether [`Pipeline::restate`] changes a body with this head.
    pub fn restates(&self, head: &response::Parts) -> bool {
        self.error_format == ErrorFormat::Detail && problem::is_problem(head)
    }

    /// Gives the body of an error the format that is configured; other bodies stay as they are.
    pub fn restate(&self, head: &mut response::Parts, body: ResponseBody) -> ResponseBody {
        if self.restates(head) {
            problem::shortened(head, body)
        } else {
            body
        }
    }

    /// Puts the policies' last word on a response and wraps its body where they change it.
    ///
    /// Call it once for every response, those of [`Decision::Respond`] and of errors too. The body
    /// that comes back wants to be polled on a Tokio runtime; a door without one uses
    /// [`Pipeline::finish_head`].
    pub fn finish(
        &self,
        ticket: &Ticket,
        head: &mut response::Parts,
        body: ResponseBody,
    ) -> ResponseBody {
        let mut body = self.restate(head, body);
        let length = match &body {
            ResponseBody::Empty => Some(0),
            ResponseBody::Full(bytes) => Some(bytes.len() as u64),
            ResponseBody::Stream(_) => declared_length(&head.headers),
        };
        if ticket.kind == RequestKind::Grpc {
            body = grpc_refusal::translate(head, body);
        } else if let Some((compression, coding)) = self.coding(ticket, head, length) {
            body = compression.wrap(coding, head, body);
        }
        self.finish_fields(ticket, &mut head.headers);
        body
    }

    /// As [`Pipeline::finish`] for a body that the owner drives itself, after [`Pipeline::restate`]
    /// where it has all of it: all its pieces go through the filter that comes back, if one does.
    /// `length` is that of the whole body in bytes, where it is known.
    pub fn finish_head(
        &self,
        ticket: &Ticket,
        head: &mut response::Parts,
        length: Option<u64>,
    ) -> Option<BodyOut> {
        let length = length.or_else(|| declared_length(&head.headers));
        let encoder = self
            .coding(ticket, head, length)
            .map(|(compression, coding)| {
                Compression::mark(coding, &mut head.headers);
                compression.encoder(coding)
            });
        self.finish_fields(ticket, &mut head.headers);
        encoder
    }

    /// Adds the policies' fields alone: for the handshake of a WebSocket that is accepted.
    pub fn finish_fields(&self, ticket: &Ticket, headers: &mut HeaderMap) {
        if let Some(cors) = &self.cors {
            cors.finish(&ticket.origin, headers);
        }
        if let Some(standing) = ticket.standing {
            standing.finish(headers);
        }
        if let Some(fields) = &self.response_headers {
            fields.finish(ticket.is_https, headers);
        }
        if let Some(id) = &ticket.request_id {
            headers.insert(X_REQUEST_ID, id.clone());
        }
    }

    /// Finds what the request is for, before anybody has asked whether it may be.
    fn target(&self, head: &Head, kind: RequestKind) -> Target {
        if kind == RequestKind::WebSocket
            && let Lookup::Match { route, params } =
                self.sockets.lookup(&Method::GET, head.raw_path())
        {
            return Target::Route(*route, PathSpans::new(head.raw_path(), &params));
        }
        let lookup = self.table.lookup(&head.method, head.raw_path());
        if let Lookup::Match { route, params } = &lookup {
            return Target::Route(**route, PathSpans::new(head.raw_path(), params));
        }
        // A route beats a directory; of a directory and a mount the longer prefix wins.
        let directories = self.static_files.as_ref();
        if let Some(found) = directories.and_then(|files| files.find(head.raw_path())) {
            let is_inner = match &lookup {
                Lookup::Mounted { prefix_len, .. } => *prefix_len <= found.prefix_len,
                _ => true,
            };
            if is_inner {
                return Target::Static(found);
            }
        }
        match lookup {
            Lookup::Match { .. } | Lookup::NotFound => Target::Nothing,
            Lookup::Mounted { value, prefix_len } => Target::Mount(*value, prefix_len),
            Lookup::Options { allow } => Target::Options(allow),
            Lookup::MethodNotAllowed { allow } => Target::MethodNotAllowed(allow),
        }
    }

    /// Asks the policies before the endpoint; the first one that says no gives the answer.
    fn admit(&self, head: &Head, ticket: &mut Ticket, target: &Target) -> Option<Answer> {
        if let Some(cors) = &self.cors {
            ticket.origin = cors.origin(head);
            if let Some(preflight) = cors.preflight(&ticket.origin, head) {
                return Some(preflight);
            }
        }
        if ticket.kind == RequestKind::WebSocket && !self.allows_socket(head) {
            return Some(forbidden("Origin is not allowed to open a WebSocket here"));
        }
        let policy = ticket.route.map(|id| &self.routes[id.index()].policy);
        let own_limit = policy.and_then(|policy| policy.rate_limit.as_ref());
        let limit = own_limit.or(self.rate_limit.as_ref());
        if let Some(limit) = limit.filter(|limit| !limit.is_after_authentication()) {
            let refused = limit.charge(ticket, &head.connection, self.clock.monotonic());
            if refused.is_some() {
                return refused;
            }
        }
        let is_public = match target {
            Target::Static(found) => found.public,
            _ => policy.is_some_and(|policy| !policy.require_auth),
        };
        if !is_public && let Some(refused) = self.authenticate(head, ticket, policy) {
            return Some(refused);
        }
        let limit = limit.filter(|limit| limit.is_after_authentication())?;
        limit.charge(ticket, &head.connection, self.clock.monotonic())
    }

    /// Cookies travel with a handshake, and no browser asks first.
    fn allows_socket(&self, head: &Head) -> bool {
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        let scheme = head.connection.scheme;
        self.socket_origins.allows(&head.headers, authority, scheme)
    }

    /// Asks for everything that is configured: with both an API key and a token, for both.
    fn authenticate(
        &self,
        head: &Head,
        ticket: &mut Ticket,
        policy: Option<&RoutePolicy>,
    ) -> Option<Answer> {
        if let Some(keys) = &self.api_keys {
            match keys.check(head) {
                Ok(key) => ticket.api_key = Some(key),
                Err(refused) => return Some(*refused),
            }
        }
        let jwt = self.jwt.as_ref()?;
        let claims = match jwt.check(&head.headers, self.clock.unix()) {
            Ok(claims) => claims,
            Err(refused) => return Some(*refused),
        };
        let demands = policy.and_then(|policy| policy.demands.as_ref());
        let refused = demands.and_then(|demands| demands.refuse(&claims));
        ticket.claims = Some(claims);
        refused
    }

    /// The end of the way for a request that every policy lets through.
    fn arrive(&self, head: &Head, ticket: &Ticket, target: Target) -> Decision<'_, T> {
        if let Some(refused) = unreadable(head, &target) {
            return Decision::Respond(refused);
        }
        let limits = match target.route() {
            Some(id) => self.routes[id.index()].policy.limits,
            None => self.limits,
        };
        let over = match ticket.body {
            // The coded form is shorter than what it stands for, or no use.
            Coded::Known { declared, .. } => limits
                .max_body_bytes
                .filter(|limit| declared.is_some_and(|declared| declared > *limit)),
            Coded::Plain | Coded::Unknown => {
                declared_too_large(&head.headers, limits.max_body_bytes)
            }
        };
        if let (Coded::Unknown, Some(decompression), Target::Route(..)) =
            (ticket.body, &self.decompression, &target)
        {
            return Decision::Respond(decompression.refuse(&head.headers));
        }
        match (target, over) {
            (Target::Route(..) | Target::Mount(..), Some(limit)) => {
                Decision::Respond(payload_too_large(limit))
            }
            (Target::Route(id, params), None) => Decision::Handle {
                route: self.route(id),
                id,
                params,
                limits,
            },
            (Target::Mount(id, prefix_len), None) => Decision::Mounted {
                mount: self.route(id),
                id,
                prefix_len,
                limits,
            },
            (Target::Static(found), _) => self.serve_static(head, &found),
            (Target::Options(allow), _) => Decision::Respond(problem::options(allow)),
            (Target::MethodNotAllowed(allow), _) => {
                Decision::Respond(problem::method_not_allowed(allow))
            }
            (Target::Nothing, _) => Decision::Respond(answer(&Problem::not_found())),
        }
    }

    fn serve_static(&self, head: &Head, found: &static_files::Found) -> Decision<'_, T> {
        match head.method {
            Method::GET | Method::HEAD => {
                let files = self.static_files.as_ref();
                match files.and_then(|files| files.select(found, head)) {
                    Some(file) => Decision::SendFile(file),
                    None => Decision::Respond(answer(&Problem::not_found())),
                }
            }
            Method::OPTIONS => Decision::Respond(problem::options(READ_METHODS)),
            _ => Decision::Respond(problem::method_not_allowed(READ_METHODS)),
        }
    }

    fn coding(
        &self,
        ticket: &Ticket,
        head: &mut response::Parts,
        length: Option<u64>,
    ) -> Option<(&Compression, Coding)> {
        let compression = self.compression.as_ref()?;
        let route = ticket.route.map(|id| &self.routes[id.index()].policy);
        if route.is_some_and(|policy| !policy.compress) {
            return None;
        }
        let coding = compression.choose(ticket.accepted, head, length)?;
        (!ticket.is_head).then_some((compression, coding))
    }
}

/// Where the request goes, once the policies before the endpoint let it.
enum Target {
    Route(RouteId, PathSpans),
    Mount(RouteId, usize),
    Static(static_files::Found),
    Options(HeaderValue),
    MethodNotAllowed(HeaderValue),
    Nothing,
}

impl Target {
    fn route(&self) -> Option<RouteId> {
        match self {
            Self::Route(id, _) | Self::Mount(id, _) => Some(*id),
            Self::Static(_) | Self::Options(_) | Self::MethodNotAllowed(_) | Self::Nothing => None,
        }
    }
}

/// Answers 400 to a target that does not decode. A mounted application may take what is not UTF-8
/// as it likes, but no NUL; a path below a directory is judged by the names in it.
fn unreadable(head: &Head, target: &Target) -> Option<Answer> {
    let refused = match target {
        Target::Static(_) | Target::Options(_) => return None,
        Target::Mount(..) => {
            let has_nul = head.raw_path().contains("%00");
            has_nul.then(|| "path has a NUL character".to_owned())
        }
        Target::Route(..) | Target::MethodNotAllowed(_) | Target::Nothing => {
            let path = decode_path(head.raw_path()).err();
            let path = path.map(|error| format!("path: {error}"));
            path.or_else(|| {
                Query::parse(head.query())
                    .err()
                    .map(|error| error.to_string())
            })
        }
    };
    refused.map(|detail| answer(&Problem::bad_request(detail)))
}

/// What a static file can be asked.
const READ_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// A field that says what a token claims; a client that sends it wants to be taken for somebody.
const CLAIMS_HEADER: HeaderName = HeaderName::from_static("x-spikard-jwt-claims");
