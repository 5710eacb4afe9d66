//! Rate limits: `burst` requests at once, then `per_second` a second, counted per client address,
//! for all together, per API key or per claim of the token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::config::{ConfigError, RateLimitConfig};
use super::decision::Ticket;
use super::problem::{Answer, answer};
use super::shared_table::SharedTable;
use crate::message::head::{Connection, Endpoint};
use crate::message::problem::Problem;

/// One limit, the server's or a route's own.
#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    table: Arc<SharedTable>,
    /// Tells this limit's keys from those of others in the same table.
    space: u32,
    by: By,
    burst: u64,
    /// Nanoseconds in which one request is earned back.
    interval: u64,
    /// Nanoseconds in which the whole burst is.
    tolerance: u64,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    Address,
    Global,
    ApiKey,
    Claim(String),
}

/// What a response says about the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    limit: u64,
    remaining: u64,
    reset_seconds: u64,
}

/// The highest rate and burst: beyond it the limit is not one.
const MAX_REQUESTS: u64 = 1_000_000;

/// The lowest rate: one request in about a quarter of an hour.
const MIN_PER_SECOND: f64 = 0.001;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl RateLimit {
    /// Compiles a limit; `space` is its own among those that share the table.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for a rate, burst or `by` out of range.
    pub(super) fn new(
        field: &str,
        config: &RateLimitConfig,
        table: &Arc<SharedTable>,
        space: u32,
    ) -> Result<Self, ConfigError> {
        let rate = config.per_second;
        let highest = Duration::from_secs(MAX_REQUESTS).as_secs_f64();
        if !(MIN_PER_SECOND..=highest).contains(&rate) {
            let expected = format!("{MIN_PER_SECOND} to {MAX_REQUESTS}");
            return Err(ConfigError::value(
                format!("{field}.per_second"),
                rate,
                expected,
            ));
        }
        if !(1..=MAX_REQUESTS).contains(&config.burst) {
            let expected = format!("1 to {MAX_REQUESTS}");
            return Err(ConfigError::value(
                format!("{field}.burst"),
                config.burst,
                expected,
            ));
        }
        let interval = Duration::from_secs_f64(1.0 / rate).as_nanos();
        let interval = u64::try_from(interval).expect("at most 1000 seconds");
        Ok(Self {
            table: Arc::clone(table),
            space,
            by: By::new(field, config)?,
            burst: config.burst,
            interval,
            // At most 10^6 requests of 1000 seconds each: about 30 000 years, within 64 bits of
            // nanoseconds only when cut.
            tolerance: interval
                .saturating_mul(config.burst)
                .min(i64::MAX.unsigned_abs()),
        })
    }

    /// Says whose requests are counted together.
    pub(super) fn by(&self) -> &By {
        &self.by
    }

    /// Whether the limit counts what only authentication knows.
    pub(super) fn is_after_authentication(&self) -> bool {
        matches!(self.by, By::ApiKey | By::Claim(_))
    }

    /// Counts one request; returns the 429 of one that is over the limit.
    pub(super) fn charge(
        &self,
        ticket: &mut Ticket,
        connection: &Connection,
        now: Duration,
    ) -> Option<Answer> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let (table, space) = (&self.table, self.space);
        let count = |kind: u8, key: &[u8]| {
            table.charge((space, kind, key), now, self.interval, self.tolerance)
        };
        let charge = match (&self.by, ticket.api_key, ticket.claims.as_deref()) {
            (By::Global, ..) => count(0, &[]),
            (By::ApiKey, Some(key), _) => count(1, &key.to_be_bytes()),
            (By::Claim(name), _, Some(claims)) if !claims[name.as_str()].is_null() => {
                count(2, claims[name.as_str()].to_string().as_bytes())
            }
            // Also a request that has not shown who it is: a route that asks for nothing.
            (By::Address | By::ApiKey | By::Claim(_), ..) => {
                let (kind, bytes) = address_key(&connection.peer);
                count(kind, &bytes)
            }
        };
        ticket.standing = Some(Standing {
            limit: self.burst,
            remaining: (self.tolerance - charge.debt.min(self.tolerance)) / self.interval,
            reset_seconds: charge.debt.div_ceil(NANOS_PER_SECOND),
        });
        if charge.is_allowed {
            return None;
        }
        let wait = (charge.debt + self.interval).saturating_sub(self.tolerance);
        let mut refused = answer(&Problem::too_many_requests());
        let seconds = wait.div_ceil(NANOS_PER_SECOND).max(1);
        refused.headers_mut().insert(RETRY_AFTER, seconds.into());
        Some(refused)
    }
}

impl By {
    fn new(field: &str, config: &RateLimitConfig) -> Result<Self, ConfigError> {
        match config.by.as_deref() {
            None if config.ip_based => Ok(Self::Address),
            None | Some("global") => Ok(Self::Global),
            Some("ip") => Ok(Self::Address),
            Some("api_key") => Ok(Self::ApiKey),
            Some(other) => match other.strip_prefix("claim:") {
                Some(name) if !name.is_empty() => Ok(Self::Claim(name.to_owned())),
                _ => {
                    let expected = "'ip', 'global', 'api_key' or 'claim:NAME'";
                    Err(ConfigError::value(
                        format!("{field}.by"),
                        format!("{other:?}"),
                        expected,
                    ))
                }
            },
        }
    }
}

impl Standing {
    /// Adds what a response says about the limit.
    pub(super) fn finish(self, headers: &mut HeaderMap) {
        for (name, value) in [
            (RATELIMIT_LIMIT, self.limit),
            (RATELIMIT_REMAINING, self.remaining),
            (RATELIMIT_RESET, self.reset_seconds),
        ] {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What an address is counted as: an IPv6 network of 64 bits is one client, which may have any
/// address in it; IPv4 in IPv6 is IPv4; peers without an address share one key.
fn address_key(peer: &Endpoint) -> (u8, [u8; 8]) {
    let Endpoint::Tcp(address) = peer else {
        return (5, [0; 8]);
    };
    match address.ip().to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (3, [a, b, c, d, 0, 0, 0, 0])
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let network =
                u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d);
            (4, network.to_be_bytes())
        }
    }
}
