//! Cross-origin resource sharing (WHATWG Fetch §3.2): preflights are answered here, other
//! responses get their fields in `finish`.

use std::collections::HashSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use regex::Regex;

use super::config::{ConfigError, CorsConfig};
use super::problem::{Answer, forbidden};
use crate::message::body::ResponseBody;
use crate::message::head::Head;

/// The compiled policy.
#[derive(Debug)]
pub(super) struct Cors {
    any_origin: bool,
    origins: HashSet<String>,
    origin_pattern: Option<Regex>,
    credentials: bool,
    any_header: bool,
    methods: Vec<Method>,
    headers: HashSet<HeaderName>,
    allow_methods: HeaderValue,
    allow_headers: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: HeaderValue,
}

/// What a request's `origin` means for its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    /// No origin, or one whose scripts may not read the response.
    #[default]
    Foreign,
    /// Scripts of this origin may read the response.
    Allowed(HeaderValue),
}

/// Longer origins are nobody's.
const MAX_ORIGIN_LENGTH: usize = 512;

/// A preflight that asks for more request fields than this is refused.
const MAX_REQUEST_HEADERS: usize = 100;

impl Cors {
    /// Compiles the policy.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for any origin together with credentials, an origin that no browser sends, a bad
    /// pattern, method or field name, or a `max_age` above a day.
    pub(super) fn new(config: &CorsConfig) -> Result<Self, ConfigError> {
        let any_origin = has_star(&config.allow_origins);
        let any_header = has_star(&config.allow_headers);
        if any_origin && config.allow_credentials {
            let expected = "a list of names: with allow_credentials browsers refuse '*'";
            return Err(ConfigError::value("cors.allow_origins", "'*'", expected));
        }
        for origin in &config.allow_origins {
            check_origin(origin)?;
        }
        if config.max_age > MAX_AGE_SECONDS {
            let expected = format!("0 to {MAX_AGE_SECONDS} seconds");
            return Err(ConfigError::value("cors.max_age", config.max_age, expected));
        }
        let methods = if has_star(&config.allow_methods) {
            STANDARD_METHODS.to_vec()
        } else {
            parse_all("cors.allow_methods", &config.allow_methods, "method names")?
        };
        let headers = parse_all("cors.allow_headers", &config.allow_headers, "field names")?;
        // Parsed for its errors alone: it is sent as it is written, and `*` is a token too.
        let exposed = &config.expose_headers;
        parse_all::<HeaderName>("cors.expose_headers", exposed, "field names")?;
        let allow_methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        Ok(Self {
            any_origin,
            origins: config.allow_origins.iter().cloned().collect(),
            origin_pattern: compile(config.allow_origin_regex.as_deref())?,
            credentials: config.allow_credentials,
            any_header,
            allow_methods: text(&allow_methods.join(", ")),
            allow_headers: if any_header && config.allow_credentials {
                // Fetch: with credentials the star is a mere name; `answer` repeats the request.
                None
            } else if any_header {
                // Fetch: the star does not stand for `authorization`.
                Some(HeaderValue::from_static("*, Authorization"))
            } else {
                list(&config.allow_headers)
            },
            methods,
            headers: headers.into_iter().collect(),
            expose_headers: list(&config.expose_headers),
            max_age: config.max_age.into(),
        })
    }

    /// Judges a request's origin; two of them are none.
    pub(super) fn origin(&self, head: &Head) -> Origin {
        let mut origins = head.headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => self.allowed(origin),
            _ => Origin::Foreign,
        }
    }

    /// Answers a preflight; `None` for any other request.
    ///
    /// The policy alone decides, whatever routes there are: an answer that depends on them would
    /// only show which ones exist.
    pub(super) fn preflight(&self, origin: &Origin, head: &Head) -> Option<Answer> {
        if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
            return None;
        }
        let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        Some(self.answer(origin, method, &head.headers))
    }

    /// Adds the fields of a response to a request of this origin.
    pub(super) fn finish(&self, origin: &Origin, headers: &mut HeaderMap) {
        if !self.any_origin {
            super::add_vary(headers, VARY_ORIGIN);
        }
        let Origin::Allowed(origin) = origin else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if let Some(exposed) = &self.expose_headers {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    fn allowed(&self, origin: &HeaderValue) -> Origin {
        if self.any_origin {
            return Origin::Allowed(HeaderValue::from_static("*"));
        }
        let Ok(text) = origin.to_str() else {
            return Origin::Foreign;
        };
        let fits = text.len() <= MAX_ORIGIN_LENGTH
            && (self.origins.contains(text)
                || self
                    .origin_pattern
                    .as_ref()
                    .is_some_and(|pattern| pattern.is_match(text)));
        if fits {
            Origin::Allowed(origin.clone())
        } else {
            Origin::Foreign
        }
    }

    fn answer(&self, origin: &Origin, method: &HeaderValue, headers: &HeaderMap) -> Answer {
        if *origin == Origin::Foreign {
            return forbidden("the origin may not make cross-origin requests here");
        }
        if !self
            .methods
            .iter()
            .any(|known| known.as_str().as_bytes() == method.as_bytes())
        {
            return forbidden("the method is not allowed for cross-origin requests");
        }
        if !self.allows_headers(headers) {
            return forbidden("a request field is not allowed for cross-origin requests");
        }
        let mut answer = Response::new(ResponseBody::Empty);
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let fields = answer.headers_mut();
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.clone());
        if let Some(allowed) = &self.allow_headers {
            fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        } else if self.any_header {
            for asked in headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
                fields.append(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
        fields.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        answer
    }

    fn allows_headers(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
        let mut names = lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty());
        let all_fit = names.by_ref().take(MAX_REQUEST_HEADERS).all(|name| {
            HeaderName::from_bytes(name).is_ok_and(|name| {
                self.any_header
                    || SAFE_HEADERS.contains(&name.as_str())
                    || self.headers.contains(&name)
            })
        });
        all_fit && names.next().is_none()
    }
}

const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// Browsers remember a preflight for a day at most.
const MAX_AGE_SECONDS: u32 = 86_400;

/// What `*` stands for among methods.
const STANDARD_METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Fields that every request may have (Fetch, "CORS-safelisted request-header").
const SAFE_HEADERS: [&str; 3] = ["accept", "accept-language", "content-language"];

fn has_star(names: &[String]) -> bool {
    names.iter().any(|name| name == "*")
}

/// An origin as browsers write it: scheme, host, port if it is not the scheme's own; no path.
fn check_origin(origin: &str) -> Result<(), ConfigError> {
    let is_plain = origin.split_once("://").is_some_and(|(scheme, host)| {
        let is_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*\\".contains(&byte);
        !scheme.is_empty() && !host.is_empty() && host.bytes().all(is_host)
    });
    let is_lower = !origin.bytes().any(|byte| byte.is_ascii_uppercase());
    if matches!(origin, "*" | "null") || (is_plain && is_lower) {
        return Ok(());
    }
    let expected = "'*', 'null' or an origin such as 'https://example.com', in lower case and \
                    without a path (patterns belong in allow_origin_regex)";
    Err(ConfigError::value(
        "cors.allow_origins",
        format!("{origin:?}"),
        expected,
    ))
}

/// Compiles a pattern so that the whole origin must match it.
fn compile(pattern: Option<&str>) -> Result<Option<Regex>, ConfigError> {
    let Some(pattern) = pattern else {
        return Ok(None);
    };
    let anchored = Regex::new(&format!(r"\A(?:{pattern})\z"));
    anchored.map(Some).map_err(|error| {
        // The last line says what is wrong; those before point at where, over several lines.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim();
        let expected = format!("a regular expression ({reason})");
        ConfigError::value("cors.allow_origin_regex", format!("{pattern:?}"), expected)
    })
}

fn parse_all<N: for<'a> TryFrom<&'a str>>(
    field: &str,
    names: &[String],
    expected: &str,
) -> Result<Vec<N>, ConfigError> {
    let parse = |name: &String| {
        N::try_from(name.as_str())
            .map_err(|_| ConfigError::value(field, format!("{name:?}"), expected))
    };
    names.iter().map(parse).collect()
}

fn list(names: &[String]) -> Option<HeaderValue> {
    (!names.is_empty()).then(|| text(&names.join(", ")))
}

fn text(joined: &str) -> HeaderValue {
    HeaderValue::from_str(joined).expect("every name was parsed as a token")
}
