//! A route's own say in the policies: what it may switch off, tighten or loosen.

use serde::{Deserialize, Deserializer};

use thiserror::Error;

use super::config::{ConfigError, RateLimitConfig, seconds};
use super::decision::Limits;
use super::jwt::Demands;
use super::rate_limit::RateLimit;
use crate::routing::RouteError;

/// The number of a route or mount in its pipeline, in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub(super) u32);

impl RouteId {
    /// Returns the number, counted from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("nobody registers four billion routes"))
    }
}

/// Why a route cannot be added.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// Its template or prefix is wrong, or another route has its place.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// One of its options is wrong.
    #[error("route option {0}")]
    Option(#[from] ConfigError),
}

/// A registered route or mount: what its owner wants back, and its part in the policies.
pub(super) struct Route<T> {
    pub(super) value: T,
    pub(super) policy: RoutePolicy,
}

/// A route's options, ready for use.
#[derive(Debug)]
pub(super) struct RoutePolicy {
    pub(super) limits: Limits,
    pub(super) require_auth: bool,
    pub(super) compress: bool,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) demands: Option<Demands>,
}

/// What a route says about the policies around it; the default follows the server's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RouteOptions {
    /// Whether the configured API key and token are asked for.
    pub require_auth: bool,
    /// The longest request body in bytes: absent for the server's, `null` for no limit.
    #[serde(deserialize_with = "present")]
    pub max_body_size: Option<Option<u64>>,
    /// Seconds until the head of the response is there: absent for the server's, `null` for no
    /// limit.
    #[serde(deserialize_with = "present")]
    pub request_timeout: Option<Option<f64>>,
    /// Whether responses may be compressed.
    pub compress: bool,
    /// A rate limit of this route's own, instead of the server's.
    pub rate_limit: Option<RateLimitConfig>,
    /// Scopes that the token must all have.
    pub scopes: Vec<String>,
    /// Roles of which the token must have one.
    pub roles: Vec<String>,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self {
            require_auth: true,
            max_body_size: None,
            request_timeout: None,
            compress: true,
            rate_limit: None,
            scopes: Vec::new(),
            roles: Vec::new(),
        }
    }
}

impl RouteOptions {
    /// Reads options from a JSON object.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] naming the unknown key, the wrong type or the value out of range.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        super::config::from_json(json)
    }

    /// Fills what the options leave open from the server's limits.
    pub(super) fn limits(&self, server: Limits) -> Result<Limits, ConfigError> {
        let request_timeout = match self.request_timeout {
            None => server.request_timeout,
            Some(own) => seconds("request_timeout", own)?,
        };
        Ok(Limits {
            max_body_bytes: self.max_body_size.unwrap_or(server.max_body_bytes),
            request_timeout,
        })
    }

    /// Returns what the route asks of a token, `None` for nothing beyond its being right.
    pub(super) fn demands(&self) -> Option<Demands> {
        let demands = Demands {
            scopes: self.scopes.clone(),
            roles: self.roles.clone(),
        };
        (demands != Demands::default()).then_some(demands)
    }
}

/// Tells a `null` from an absent key: this runs only for a key that is there.
fn present<'de, D, V>(deserializer: D) -> Result<Option<V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    V::deserialize(deserializer).map(Some)
}
