//! The policy around every handler: a synchronous pipeline without I/O, the same behind every door.
//!
//! Whoever owns the loop calls [`Pipeline::begin`], does what the [`Decision`] says (after
//! [`Decision::Hooks`] it calls [`Pipeline::resume`]), and passes every response, the pipeline's
//! own too, through [`Pipeline::finish`].
//!
//! THE ORDER, written once: request id → `on_request` hooks → route match (404 and 405 held back)
//! → CORS → rate limit by IP or global → API key → JWT → rate limit by key or claim → static file,
//! 404, 405 → body limit → *endpoint* → `on_response` / `on_error` → compression → response
//! headers → access log. Every policy is one file beside this one; one that is switched off is a
//! `None` that is looked at once.

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, response};

use crate::message::body::ResponseBody;
use crate::message::head::Head;
use crate::message::problem::Problem;
use crate::routing::{Lookup, RouteTable};

mod body_limit;
mod clock;
mod coding;
pub mod config;
mod decision;
mod file;
mod file_body;
mod problem;
mod route;
mod static_files;

pub use body_limit::BodyLimit;
pub use clock::{Clock, SystemClock};
pub use coding::{Accepted, Coding};
pub use config::{ConfigError, PolicyConfig};
pub use decision::{Decision, Limits, PathSpans, Ticket};
pub use file::{FileConditions, FileSource, Patience};
pub use file_body::FileBody;
pub use problem::{answer, overloaded, payload_too_large, request_timeout};
pub use route::{RegisterError, RouteId, RouteOptions};
pub use static_files::SendFile;

use body_limit::declared_too_large;
use problem::Answer;
use route::Route;
use static_files::StaticFiles;

/// All policies of one application and the routes that they stand around.
///
/// `T` is what the owner wants back when a route or mount is chosen.
pub struct Pipeline<T> {
    table: RouteTable<RouteId>,
    routes: Vec<Route<T>>,
    has_request_hooks: bool,
    static_files: Option<StaticFiles>,
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
    /// Builds the policies.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] naming the value that is out of range, contradicts another, or points to
    /// a file that cannot be used.
    pub fn new(config: PolicyConfig) -> Result<Self, ConfigError> {
        Self::with_clock(config, Box::new(SystemClock))
    }

    /// Builds the policies with another clock.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::new`].
    pub fn with_clock(config: PolicyConfig, _clock: Box<dyn Clock>) -> Result<Self, ConfigError> {
        if config.max_concurrency == Some(0) {
            return Err(ConfigError::value(
                "max_concurrency",
                0,
                "at least 1, or null",
            ));
        }
        Ok(Self {
            table: RouteTable::new(),
            routes: Vec::new(),
            has_request_hooks: false,
            static_files: StaticFiles::new(&config.static_files)?,
            limits: Limits {
                max_body_bytes: config.max_body_size,
                request_timeout: config::seconds("request_timeout", config.request_timeout)?,
            },
            concurrency: Concurrency {
                max_running: config.max_concurrency,
                max_waiting: config.max_queue,
            },
        })
    }

    /// Adds a route; the error names what is wrong with its template or options.
    ///
    /// # Errors
    ///
    /// A [`RegisterError`] for a bad template, a conflict with another route, or an option out of
    /// range.
    pub fn add_route(
        &mut self,
        methods: &[Method],
        template: &str,
        options: &RouteOptions,
        value: T,
    ) -> Result<RouteId, RegisterError> {
        let policy = options.policy(self.limits)?;
        let id = RouteId::from_index(self.routes.len());
        self.table.insert(methods, template, id)?;
        self.routes.push(Route { value, policy });
        Ok(id)
    }

    /// Adds an application that takes every path at or below `prefix` that no route takes.
    ///
    /// # Errors
    ///
    /// A [`RegisterError`] for a bad or repeated prefix, or an option out of range.
    pub fn add_mount(
        &mut self,
        prefix: &str,
        options: &RouteOptions,
        value: T,
    ) -> Result<RouteId, RegisterError> {
        let policy = options.policy(self.limits)?;
        let id = RouteId::from_index(self.routes.len());
        self.table.insert_mount(prefix, id)?;
        self.routes.push(Route { value, policy });
        Ok(id)
    }

    /// Makes `begin` stop at [`Decision::Hooks`]: the application has `on_request` hooks.
    pub fn set_request_hooks(&mut self, has_request_hooks: bool) {
        self.has_request_hooks = has_request_hooks;
    }

    /// Returns what was registered under `id`.
    pub fn route(&self, id: RouteId) -> &T {
        &self.routes[id.index()].value
    }

    /// Returns how many handlers may run and wait; the owner of the loop counts them.
    pub fn concurrency(&self) -> Concurrency {
        self.concurrency
    }

    /// Decides about a request, as far as the `on_request` hooks if there are any.
    ///
    /// The head may change: a trusted proxy's word replaces the connection's facts, and fields
    /// that only this server may set are dropped.
    pub fn begin(&self, head: &mut Head) -> (Ticket, Decision<'_, T>) {
        let mut ticket = Ticket::default();
        let decision = if self.has_request_hooks {
            Decision::Hooks
        } else {
            self.resume(head, &mut ticket)
        };
        (ticket, decision)
    }

    /// Decides about a request whose `on_request` hooks have run; `head` is as they left it.
    pub fn resume(&self, head: &mut Head, ticket: &mut Ticket) -> Decision<'_, T> {
        ticket.is_head = head.method == Method::HEAD;
        let target = self.target(head);
        ticket.route = target.route();
        let limits = match ticket.route {
            Some(id) => self.routes[id.index()].policy.limits,
            None => self.limits,
        };
        match target {
            Target::Route(id, params) => match body_limit(head, limits) {
                Some(answer) => Decision::Respond(answer),
                None => Decision::Handle {
                    route: self.route(id),
                    id,
                    params,
                    limits,
                },
            },
            Target::Mount(id, prefix_len) => match body_limit(head, limits) {
                Some(answer) => Decision::Respond(answer),
                None => Decision::Mounted {
                    mount: self.route(id),
                    id,
                    prefix_len,
                    limits,
                },
            },
            Target::Static(found) => {
                let files = self.static_files.as_ref();
                match files.and_then(|files| files.select(&found, head)) {
                    Some(file) => Decision::SendFile(file),
                    None => Decision::Respond(answer(&Problem::not_found())),
                }
            }
            Target::Options(allow) => Decision::Respond(problem::options(allow)),
            Target::MethodNotAllowed(allow) => {
                Decision::Respond(problem::method_not_allowed(allow))
            }
            Target::Nothing => Decision::Respond(answer(&Problem::not_found())),
        }
    }

    fn target(&self, head: &Head) -> Target {
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
                return match head.method {
                    Method::GET | Method::HEAD => Target::Static(found),
                    Method::OPTIONS => Target::Options(READ_METHODS),
                    _ => Target::MethodNotAllowed(READ_METHODS),
                };
            }
        }
        match lookup {
            Lookup::Match { .. } | Lookup::NotFound => Target::Nothing,
            Lookup::Mounted { value, prefix_len } => Target::Mount(*value, prefix_len),
            Lookup::Options { allow } => Target::Options(allow),
            Lookup::MethodNotAllowed { allow } => Target::MethodNotAllowed(allow),
        }
    }

    /// Puts the policies' last word on a response and wraps its body where they change it.
    ///
    /// Call it once for every response, those of [`Decision::Respond`] and of errors too.
    pub fn finish(
        &self,
        ticket: &mut Ticket,
        head: &mut response::Parts,
        body: ResponseBody,
    ) -> ResponseBody {
        self.finish_headers(ticket, &mut head.headers);
        body
    }

    /// Adds the policies' fields to those of a WebSocket handshake that is accepted.
    pub fn finish_headers(&self, ticket: &mut Ticket, headers: &mut HeaderMap) {
        _ = (ticket, headers);
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

/// What a static file can be asked.
const READ_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

fn body_limit(head: &Head, limits: Limits) -> Option<Answer> {
    declared_too_large(&head.headers, limits.max_body_bytes).map(payload_too_large)
}

impl<T> fmt::Debug for Pipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
