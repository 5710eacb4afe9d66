//! Compiling the policies and the routes, once, before the first request.

use std::sync::Arc;

use http::Method;

use super::api_key::ApiKeys;
use super::clock::{Clock, SystemClock};
use super::compression::Compression;
use super::config::{ConfigError, PolicyConfig};
use super::cors::Cors;
use super::decision::Limits;
use super::decompression::Decompression;
use super::hosts::AllowedHosts;
use super::jwt::Jwt;
use super::proxy::TrustedProxies;
use super::rate_limit::{By, RateLimit};
use super::request_id::RequestIds;
use super::response_headers::ResponseHeaders;
use super::route::{RegisterError, Route, RouteId, RouteOptions, RoutePolicy};
use super::shared_table::SharedTable;
use super::static_files::StaticFiles;
use super::{Concurrency, Pipeline, config};
use crate::protocol::websocket::handshake::OriginPolicy;
use crate::routing::RouteTable;

/// What a pipeline gets from the process that it runs in.
#[derive(Debug)]
pub struct Surroundings {
    /// Where it reads the time.
    pub clock: Box<dyn Clock>,
    /// Where it counts requests, shared with the other workers; `None` for a table of its own.
    pub counts: Option<SharedTable>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            clock: Box::new(SystemClock),
            counts: None,
        }
    }
}

impl<T> Pipeline<T> {
    /// Builds the policies with the system's clock and counts of its own.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] naming the value that is out of range, contradicts another, or points to
    /// a file that cannot be used.
    pub fn new(config: &PolicyConfig) -> Result<Self, ConfigError> {
        Self::within(config, Surroundings::default())
    }

    /// Builds the policies.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::new`].
    pub fn within(config: &PolicyConfig, around: Surroundings) -> Result<Self, ConfigError> {
        if config.max_concurrency == Some(0) {
            let expected = "at least 1, or null";
            return Err(ConfigError::value("max_concurrency", 0, expected));
        }
        let security = config.security_headers.as_ref();
        let compression = config.compression.as_ref().map(Compression::new);
        let decompression = config.decompression.as_ref().map(Decompression::new);
        let mut pipeline = Self {
            table: RouteTable::new(),
            sockets: RouteTable::new(),
            routes: Vec::new(),
            has_request_hooks: false,
            clock: around.clock,
            counts: around.counts.map(Arc::new),
            trusted_proxies: TrustedProxies::new(&config.trusted_proxies)?,
            allowed_hosts: AllowedHosts::new(&config.allowed_hosts)?,
            socket_origins: match &config.ws_allowed_origins {
                None => OriginPolicy::SameHost,
                Some(origins) if origins.iter().any(|origin| origin == "*") => OriginPolicy::Any,
                Some(origins) => OriginPolicy::Listed(origins.clone()),
            },
            request_ids: config.enable_request_id.then(RequestIds::default),
            cors: config.cors.as_ref().map(Cors::new).transpose()?,
            rate_limit: None,
            api_keys: config.api_key_auth.as_ref().map(ApiKeys::new).transpose()?,
            jwt: config.jwt_auth.as_ref().map(Jwt::new).transpose()?,
            static_files: StaticFiles::new(&config.static_files)?,
            compression: compression.transpose()?.flatten(),
            decompression: decompression.transpose()?.flatten(),
            response_headers: ResponseHeaders::new(&config.headers, security)?,
            https_redirect: config.https_redirect,
            error_format: config.error_format,
            limits: Limits {
                max_body_bytes: config.max_body_size,
                request_timeout: config::seconds("request_timeout", config.request_timeout)?,
            },
            concurrency: Concurrency {
                max_running: config.max_concurrency,
                max_waiting: config.max_queue,
            },
        };
        if let Some(limit) = &config.rate_limit {
            pipeline.rate_limit = Some(pipeline.compile_limit(limit, 0)?);
        }
        Ok(pipeline)
    }

    /// Adds a route.
    ///
    /// # Errors
    ///
    /// A [`RegisterError`] for a bad template, a conflict with another route, or an option that is
    /// out of range or contradicts the configuration.
    pub fn add_route(
        &mut self,
        methods: &[Method],
        template: &str,
        options: &RouteOptions,
        value: T,
    ) -> Result<RouteId, RegisterError> {
        let (id, policy) = self.compile_route(options)?;
        self.table.insert(methods, template, id)?;
        self.routes.push(Route { value, policy });
        Ok(id)
    }

    /// Adds a WebSocket route. Only handshakes find it, so it can share its path with another.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::add_route`].
    pub fn add_websocket(
        &mut self,
        template: &str,
        options: &RouteOptions,
        value: T,
    ) -> Result<RouteId, RegisterError> {
        let (id, policy) = self.compile_route(options)?;
        self.sockets.insert(&[Method::GET], template, id)?;
        self.routes.push(Route { value, policy });
        Ok(id)
    }

    /// Adds an application that takes every path at or below `prefix` that no route takes.
    ///
    /// # Errors
    ///
    /// A [`RegisterError`] for a bad or repeated prefix, or an option as with
    /// [`Pipeline::add_route`].
    pub fn add_mount(
        &mut self,
        prefix: &str,
        options: &RouteOptions,
        value: T,
    ) -> Result<RouteId, RegisterError> {
        let (id, policy) = self.compile_route(options)?;
        self.table.insert_mount(prefix, id)?;
        self.routes.push(Route { value, policy });
        Ok(id)
    }

    /// Makes `begin` stop at [`Decision::Hooks`](super::Decision::Hooks): the application has `on_request` hooks.
    pub fn set_request_hooks(&mut self, has_request_hooks: bool) {
        self.has_request_hooks = has_request_hooks;
    }

    /// Compiles the options of the next route.
    fn compile_route(
        &mut self,
        options: &RouteOptions,
    ) -> Result<(RouteId, RoutePolicy), ConfigError> {
        let id = RouteId::from_index(self.routes.len());
        let rate_limit = match &options.rate_limit {
            Some(limit) => Some(self.compile_limit(limit, id.0 + 1)?),
            None => None,
        };
        let demands = options.demands();
        if demands.is_some() && (self.jwt.is_none() || !options.require_auth) {
            let expected = "none, unless jwt_auth is configured and the route requires it";
            return Err(ConfigError::value("scopes or roles", "given", expected));
        }
        let policy = RoutePolicy {
            limits: options.limits(self.limits)?,
            require_auth: options.require_auth,
            compress: options.compress,
            rate_limit,
            demands,
        };
        Ok((id, policy))
    }

    fn compile_limit(
        &mut self,
        config: &config::RateLimitConfig,
        space: u32,
    ) -> Result<RateLimit, ConfigError> {
        let counts = self
            .counts
            .get_or_insert_with(|| Arc::new(SharedTable::private()));
        let limit = RateLimit::new("rate_limit", config, counts, space)?;
        let (is_known, needed) = match limit.by() {
            By::Address | By::Global => (true, ""),
            By::ApiKey => (self.api_keys.is_some(), "api_key_auth"),
            By::Claim(_) => (self.jwt.is_some(), "jwt_auth"),
        };
        if is_known {
            return Ok(limit);
        }
        let given = config.by.as_deref().unwrap_or_default();
        let expected = format!("'ip' or 'global' without {needed}");
        Err(ConfigError::value(
            "rate_limit.by",
            format!("'{given}'"),
            expected,
        ))
    }
}
