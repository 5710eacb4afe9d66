//! The configuration of the policies: plain data with the names of `ServerConfig`, checked as it
//! is read. Whatever is wrong stops the start and is named; nothing is corrected in silence.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

/// A mistake in the configuration, found before anything is served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An unknown key, a missing one, or a value of the wrong type.
    #[error("{field}: {reason}")]
    Shape {
        /// The path to the key, such as `cors.max_age`.
        field: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A value out of its range, or one that contradicts another.
    #[error("{field} is {value}: expected {expected}")]
    Value {
        /// The path to the key.
        field: String,
        /// The value, unless it is a secret.
        value: String,
        /// What would have been right.
        expected: String,
    },
}

impl ConfigError {
    pub(super) fn value(
        field: impl Into<String>,
        value: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Value {
            field: field.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}

/// The fields of `ServerConfig` that make up the policy around every handler.
///
/// Durations are seconds. An absent field has `ServerConfig`'s default, `null` switches off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// The longest request body in bytes.
    pub max_body_size: Option<u64>,
    /// Seconds until the head of a response must be there.
    pub request_timeout: Option<f64>,
    /// How many handlers of a worker may run at once; `None` for any number.
    pub max_concurrency: Option<u32>,
    /// How many requests may wait for a handler before 503 is the answer.
    pub max_queue: u32,
    /// Whether requests get an id.
    pub enable_request_id: bool,
    /// Compression of responses.
    pub compression: Option<CompressionConfig>,
    /// Decompression of request bodies.
    pub decompression: Option<DecompressionConfig>,
    /// Cross-origin requests.
    pub cors: Option<CorsConfig>,
    /// How many requests a client may make.
    pub rate_limit: Option<RateLimitConfig>,
    /// Signed tokens.
    pub jwt_auth: Option<JwtConfig>,
    /// API keys.
    pub api_key_auth: Option<ApiKeyConfig>,
    /// Directories served as they are.
    pub static_files: Vec<StaticFilesConfig>,
    /// Proxies whose `forwarded` and `x-forwarded-*` fields count: addresses, networks, `unix` for
    /// peers on a Unix socket.
    pub trusted_proxies: Vec<String>,
    /// Hosts that are served; empty for all. `*.example.com` stands for every subdomain.
    pub allowed_hosts: Vec<String>,
    /// Origins that may open a WebSocket besides the host itself; `*` for all of them.
    pub ws_allowed_origins: Option<Vec<String>>,
    /// Fields that tell browsers to be careful.
    pub security_headers: Option<SecurityHeadersConfig>,
    /// Fields that every response gets, as pairs of name and value.
    pub headers: Vec<(String, String)>,
    /// Whether a request without TLS is sent to the same address with it.
    pub https_redirect: bool,
    /// How the body of an error looks that the server makes.
    pub error_format: ErrorFormat,
}

/// How the body of an error looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ErrorFormat {
    /// Problem details (RFC 9457).
    #[default]
    Problem,
    /// `{"detail": ...}` as JSON: the other form that clients know.
    Detail,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            max_body_size: Some(10 * 1024 * 1024),
            request_timeout: Some(30.0),
            max_concurrency: None,
            max_queue: 1000,
            enable_request_id: true,
            compression: Some(CompressionConfig::default()),
            decompression: None,
            cors: None,
            rate_limit: None,
            jwt_auth: None,
            api_key_auth: None,
            static_files: Vec::new(),
            trusted_proxies: Vec::new(),
            allowed_hosts: Vec::new(),
            ws_allowed_origins: None,
            security_headers: None,
            headers: Vec::new(),
            https_redirect: false,
            error_format: ErrorFormat::Problem,
        }
    }
}

impl PolicyConfig {
    /// Reads the policies from `ServerConfig` as JSON; fields that belong to other floors of the
    /// server may be there and are not looked at.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] naming the unknown key or wrong type. Ranges are checked by
    /// [`Pipeline::new`](super::Pipeline::new).
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigError> {
        let mut fields = fields(json)?;
        for name in OTHER_FIELDS {
            fields.shift_remove(*name);
        }
        from_fields(fields)
    }
}

/// Fields of `ServerConfig` that the server's other floors read.
const OTHER_FIELDS: &[&str] = &[
    "access_log",
    "backlog",
    "body_timeout",
    "cancel_abandoned_streams",
    "fd",
    "graceful_shutdown",
    "grpc_max_metadata_size",
    "grpc_max_receive_size",
    "grpc_max_send_size",
    "h2_connection_window",
    "h2_max_local_reset_streams",
    "h2_max_pending_reset_streams",
    "h2_ping_interval",
    "h2_ping_timeout",
    "h2_send_buffer",
    "h2_stall_timeout",
    "h2_stream_window",
    "header_timeout",
    "host",
    "http",
    "json_max_depth",
    "keep_alive_timeout",
    "lifespan",
    "log_level",
    "max_concurrent_streams",
    "max_connections",
    "max_form_field_size",
    "max_form_parts",
    "max_header_field",
    "max_header_size",
    "max_headers",
    "max_query_pairs",
    "max_request_line",
    "max_requests",
    "max_requests_jitter",
    "max_requests_per_connection",
    "min_body_rate",
    "min_write_rate",
    "openapi",
    "port",
    "protocol_detect_timeout",
    "root_path",
    "server_header",
    "shutdown_timeout",
    "spool_memory",
    "spool_quota",
    "strict_http1",
    "tls",
    "tls_handshake_timeout",
    "uds",
    "worker_heartbeat_timeout",
    "workers",
    "write_stall_timeout",
    "ws_close_timeout",
    "ws_max_fragments",
    "ws_max_message_size",
    "ws_max_queue",
    "ws_ping_interval",
    "ws_ping_timeout",
    "ws_write_buffer",
];

/// `CompressionConfig`: which codings are offered, for what, and how hard they work.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompressionConfig {
    /// Whether gzip is offered.
    pub gzip: bool,
    /// Whether brotli is offered.
    pub brotli: bool,
    /// Whether zstd is offered.
    pub zstd: bool,
    /// Bodies of known length below this many bytes are left alone.
    pub min_size: u64,
    /// The effort from 0 to 11, clamped to each coding's own range.
    pub quality: u8,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self {
            gzip: true,
            brotli: true,
            zstd: true,
            min_size: 1024,
            quality: 6,
        }
    }
}

/// `DecompressionConfig`: which codings of request bodies are undone, and up to what size.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting with a name of its own"
)]
pub struct DecompressionConfig {
    /// Whether gzip is undone.
    pub gzip: bool,
    /// Whether deflate, in zlib's format, is undone.
    pub deflate: bool,
    /// Whether brotli is undone.
    pub brotli: bool,
    /// Whether zstd is undone.
    pub zstd: bool,
    /// How many times its size a body may grow to, once it is longer than 64 KiB.
    pub max_ratio: u32,
    /// How many gzip members or zstd frames a body may have.
    pub max_members: u32,
}

impl Default for DecompressionConfig {
    fn default() -> Self {
        Self {
            gzip: true,
            deflate: true,
            brotli: true,
            zstd: true,
            max_ratio: 100,
            max_members: 16,
        }
    }
}

/// `CorsConfig`: which origins' scripts may read what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Origins, compared byte by byte; `*` for all of them, `null` for the opaque one.
    pub allow_origins: Vec<String>,
    /// A regular expression that the whole origin must match, beside the list.
    pub allow_origin_regex: Option<String>,
    /// Methods that a preflight may ask for; `*` for all of them.
    pub allow_methods: Vec<String>,
    /// Request fields that a preflight may ask for; `*` for all of them.
    pub allow_headers: Vec<String>,
    /// Whether cookies and credentials count.
    pub allow_credentials: bool,
    /// Response fields that scripts may read.
    pub expose_headers: Vec<String>,
    /// Seconds that a browser may remember a preflight.
    pub max_age: u32,
}

impl Default for CorsConfig {
    fn default() -> Self {
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        Self {
            allow_origins: Vec::new(),
            allow_origin_regex: None,
            allow_methods: methods.map(str::to_owned).to_vec(),
            allow_headers: Vec::new(),
            allow_credentials: false,
            expose_headers: Vec::new(),
            max_age: 600,
        }
    }
}

/// `RateLimitConfig`: `burst` requests at once, then `per_second` a second.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// How many requests a second are earned back.
    pub per_second: f64,
    /// How many requests may come at once.
    pub burst: u64,
    /// Whether each client address has its own budget, or all share one.
    #[serde(default = "yes")]
    pub ip_based: bool,
    /// What has a budget instead: `ip`, `global`, `api_key`, or `claim:NAME` of the token. The
    /// last two count after authentication.
    #[serde(default)]
    pub by: Option<String>,
}

/// `JwtConfig`: the signature and claims that a bearer token must have.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The shared secret, or the public key as PEM for an asymmetric algorithm.
    #[serde(default)]
    pub secret: Option<String>,
    /// A JWK Set, as the document itself or the path of a file, instead of `secret`.
    #[serde(default)]
    pub jwks: Option<Value>,
    /// The one algorithm that is accepted.
    #[serde(default = "hs256")]
    pub algorithm: String,
    /// Audiences of which the token must name one.
    #[serde(default)]
    pub audience: Option<OneOrMany>,
    /// Issuers of which the token must name one.
    #[serde(default)]
    pub issuer: Option<OneOrMany>,
    /// Seconds by which clocks may differ.
    #[serde(default)]
    pub leeway: f64,
    /// Claims that must be there.
    #[serde(default = "exp")]
    pub required_claims: Vec<String>,
}

impl fmt::Debug for JwtConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtConfig")
            .field("algorithm", &self.algorithm)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// `ApiKeyConfig`: the keys that clients may show, and where.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Keys as they are, or `sha256:` and the digest of one in hexadecimal.
    pub keys: Vec<String>,
    /// The request field that carries a key.
    #[serde(default = "x_api_key")]
    pub header_name: String,
    /// The query parameter that may carry one instead.
    #[serde(default)]
    pub query_param: Option<String>,
}

impl fmt::Debug for ApiKeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyConfig")
            .field("header_name", &self.header_name)
            .field("query_param", &self.query_param)
            .finish_non_exhaustive()
    }
}

/// `StaticFilesConfig`: a directory whose files are served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting with a name of its own"
)]
pub struct StaticFilesConfig {
    /// The directory on disk.
    pub directory: String,
    /// The path below which its files appear.
    pub route_prefix: String,
    /// Whether a directory answers with its `index.html`.
    #[serde(default = "yes")]
    pub index_file: bool,
    /// The `cache-control` of its files.
    #[serde(default)]
    pub cache_control: Option<String>,
    /// Whether its files need no authentication.
    #[serde(default)]
    pub public: bool,
    /// Whether a page request for nothing there answers with the directory's own `index.html`.
    #[serde(default)]
    pub spa_fallback: bool,
    /// Whether `.br`, `.zst` and `.gz` neighbours stand in for the file itself.
    #[serde(default = "yes")]
    pub precompressed: bool,
    /// Whether symbolic links may lead out of the directory.
    #[serde(default)]
    pub follow_symlinks: bool,
}

/// `SecurityHeadersConfig`: what every response asks of browsers; `None` leaves a field out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeadersConfig {
    /// Whether `x-content-type-options: nosniff` is sent.
    pub content_type_options: bool,
    /// `x-frame-options`.
    pub frame_options: Option<String>,
    /// `referrer-policy`.
    pub referrer_policy: Option<String>,
    /// `content-security-policy`.
    pub content_security_policy: Option<String>,
    /// `permissions-policy`.
    pub permissions_policy: Option<String>,
    /// `cross-origin-opener-policy`.
    pub cross_origin_opener_policy: Option<String>,
    /// Seconds of `strict-transport-security`, sent over HTTPS only.
    pub hsts_max_age: Option<u64>,
}

impl Default for SecurityHeadersConfig {
    fn default() -> Self {
        Self {
            content_type_options: true,
            frame_options: Some("DENY".to_owned()),
            referrer_policy: Some("strict-origin-when-cross-origin".to_owned()),
            content_security_policy: None,
            permissions_policy: None,
            cross_origin_opener_policy: Some("same-origin".to_owned()),
            hsts_max_age: Some(31_536_000),
        }
    }
}

/// A string, or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// Just one.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// Reads any part of the configuration from a JSON object, naming the path to what is wrong.
pub(super) fn from_json<C: DeserializeOwned>(json: &[u8]) -> Result<C, ConfigError> {
    from_fields(fields(json)?)
}

fn fields(json: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    // Not left to serde: a derived reader takes a list of values in the fields' order too.
    serde_json::from_slice(json).map_err(|error| ConfigError::Shape {
        field: "configuration".to_owned(),
        reason: error.to_string(),
    })
}

fn from_fields<C: DeserializeOwned>(fields: Map<String, Value>) -> Result<C, ConfigError> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(shape)
}

fn shape(error: serde_path_to_error::Error<serde_json::Error>) -> ConfigError {
    let path = error.path().to_string();
    ConfigError::Shape {
        field: if path == "." {
            "configuration".to_owned()
        } else {
            path
        },
        reason: error.into_inner().to_string(),
    }
}

/// Turns optional seconds into a duration.
pub(super) fn seconds(field: &str, value: Option<f64>) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .map(Some)
        .ok_or_else(|| {
            ConfigError::value(
                field,
                value,
                "more than 0 and at most 86400 seconds, or null",
            )
        })
}

/// A day: a longer time limit on one request is a mistake in the unit.
const MAX_DURATION: Duration = Duration::from_secs(86_400);

fn yes() -> bool {
    true
}

fn hs256() -> String {
    "HS256".to_owned()
}

fn exp() -> Vec<String> {
    vec!["exp".to_owned()]
}

fn x_api_key() -> String {
    "X-API-Key".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_has_the_defaults_of_the_contract() {
        let config = PolicyConfig::from_json(b"{}").unwrap();
        assert_eq!(config.max_body_size, Some(10 * 1024 * 1024));
        assert_eq!(config.request_timeout, Some(30.0));
        assert!(config.enable_request_id && config.compression.is_some());
        assert!(config.cors.is_none() && config.rate_limit.is_none());
    }

    #[test]
    fn null_switches_off() {
        let json = br#"{"max_body_size": null, "request_timeout": null, "compression": null}"#;
        let config = PolicyConfig::from_json(json).unwrap();
        assert_eq!(config.max_body_size, None);
        assert_eq!(config.request_timeout, None);
        assert!(config.compression.is_none());
    }

    #[test]
    fn fields_of_other_floors_are_not_looked_at() {
        assert!(PolicyConfig::from_json(br#"{"port": 8000, "host": "::", "tls": null}"#).is_ok());
    }

    #[test]
    fn a_mistake_names_its_key() {
        for (json, named) in [
            (r#"{"comression": {}}"#, "comression"),
            (r#"{"compression": {"gzpi": true}}"#, "compression.gzpi"),
            (r#"{"compression": {"quality": -1}}"#, "compression.quality"),
            (r#"{"max_body_size": "big"}"#, "max_body_size"),
            (r#"{"rate_limit": {"per_second": 1}}"#, "burst"),
            (r#"{"jwt_auth": {"secret": 5}}"#, "jwt_auth.secret"),
            (
                r#"{"static_files": [{"directory": "a"}]}"#,
                "static_files[0]",
            ),
            ("[]", "configuration"),
            ("{", "configuration"),
        ] {
            let error = PolicyConfig::from_json(json.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(named), "{json}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_in_the_debug_text() {
        let json = br#"{"jwt_auth": {"secret": "hush"}, "api_key_auth": {"keys": ["hush"]}}"#;
        let text = format!("{:?}", PolicyConfig::from_json(json).unwrap());
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn a_duration_out_of_range_is_an_error() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 86_401.0] {
            let error = seconds("request_timeout", Some(value)).unwrap_err();
            assert!(
                error.to_string().starts_with("request_timeout is"),
                "{error}"
            );
        }
        assert_eq!(
            seconds("request_timeout", Some(0.5)).unwrap(),
            Some(Duration::from_millis(500))
        );
    }
}
