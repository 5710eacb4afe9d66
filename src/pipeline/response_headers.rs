//! Fields that every response gets: the configured ones, and those that tell browsers to be careful.

use http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::config::{ConfigError, SecurityHeadersConfig};

/// The compiled fields.
#[derive(Debug)]
pub(super) struct ResponseHeaders {
    /// Added to what the application says.
    added: Vec<(HeaderName, HeaderValue)>,
    /// Set where the application says nothing.
    defaults: Vec<(HeaderName, HeaderValue)>,
    strict_transport: Option<HeaderValue>,
}

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

impl ResponseHeaders {
    /// Compiles the fields; `None` when there are none.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for a name or value that no field can have.
    pub(super) fn new(
        headers: &[(String, String)],
        security: Option<&SecurityHeadersConfig>,
    ) -> Result<Option<Self>, ConfigError> {
        let mut added = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            let parsed = HeaderName::try_from(name.as_str())
                .map_err(|_| ConfigError::value("headers", format!("{name:?}"), "a field name"))?;
            added.push((parsed, parse("headers", value)?));
        }
        let mut defaults = Vec::new();
        let mut strict_transport = None;
        if let Some(config) = security {
            if config.content_type_options {
                defaults.push((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
            }
            for (name, value) in [
                (X_FRAME_OPTIONS, &config.frame_options),
                (REFERRER_POLICY, &config.referrer_policy),
                (CONTENT_SECURITY_POLICY, &config.content_security_policy),
                (PERMISSIONS_POLICY, &config.permissions_policy),
                (OPENER_POLICY, &config.cross_origin_opener_policy),
            ] {
                if let Some(value) = value {
                    let field = format!("security_headers ({name})");
                    defaults.push((name, parse(&field, value)?));
                }
            }
            strict_transport = config
                .hsts_max_age
                .map(|seconds| {
                    parse(
                        "security_headers.hsts_max_age",
                        &format!("max-age={seconds}"),
                    )
                })
                .transpose()?;
        }
        let is_empty = added.is_empty() && defaults.is_empty() && strict_transport.is_none();
        Ok((!is_empty).then_some(Self {
            added,
            defaults,
            strict_transport,
        }))
    }

    /// Adds the fields to a response.
    pub(super) fn finish(&self, is_https: bool, headers: &mut HeaderMap) {
        for (name, value) in &self.added {
            headers.append(name.clone(), value.clone());
        }
        for (name, value) in &self.defaults {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        // RFC 6797 §7.2: never over plain HTTP.
        if let Some(value) = self.strict_transport.as_ref().filter(|_| is_https) {
            headers
                .entry(STRICT_TRANSPORT_SECURITY)
                .or_insert_with(|| value.clone());
        }
    }
}

fn parse(field: &str, value: &str) -> Result<HeaderValue, ConfigError> {
    HeaderValue::from_str(value)
        .map_err(|_| ConfigError::value(field, format!("{value:?}"), "printable ASCII"))
}
