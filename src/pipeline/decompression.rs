//! Decompression of request bodies: switched off unless asked for, because what a body grows to
//! has no limit of its own (RFC 9110 §8.4, §15.5.16).

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue};

use super::config::{ConfigError, DecompressionConfig};
use super::declared_length;
use super::decoder::{BodyIn, Bounds, RequestCoding};
use super::problem::{Answer, answer};
use crate::message::problem::Problem;

/// The compiled policy.
#[derive(Debug)]
pub(super) struct Decompression {
    codings: Vec<RequestCoding>,
    /// Their names, as `accept-encoding` lists them.
    names: String,
    bounds: Bounds,
}

/// How the body of a request is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coded {
    /// Not at all, or nobody asks.
    #[default]
    Plain,
    /// In a way that is undone; `declared` is the length of the coded form in bytes.
    Known {
        coding: RequestCoding,
        declared: Option<u64>,
    },
    /// In a way that is not offered, or in several.
    Unknown,
}

impl Decompression {
    /// Compiles the policy; `None` when it undoes no coding.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for a bound of 0.
    pub(super) fn new(config: &DecompressionConfig) -> Result<Option<Self>, ConfigError> {
        for (field, value) in [
            ("decompression.max_ratio", config.max_ratio),
            ("decompression.max_members", config.max_members),
        ] {
            if value == 0 {
                return Err(ConfigError::value(field, value, "at least 1"));
            }
        }
        let codings: Vec<RequestCoding> = [
            (config.gzip, RequestCoding::Gzip),
            (config.deflate, RequestCoding::Deflate),
            (config.brotli, RequestCoding::Brotli),
            (config.zstd, RequestCoding::Zstd),
        ]
        .into_iter()
        .filter_map(|(is_offered, coding)| is_offered.then_some(coding))
        .collect();
        let names: Vec<&str> = codings.iter().map(|coding| coding.as_str()).collect();
        let names = names.join(", ");
        let bounds = Bounds {
            ratio: config.max_ratio,
            members: config.max_members,
        };
        let decompression = Self {
            codings,
            names,
            bounds,
        };
        Ok((!decompression.codings.is_empty()).then_some(decompression))
    }

    /// Takes a coding that will be undone off a request's head, and the length of the coded form.
    pub(super) fn claim(&self, headers: &mut HeaderMap) -> Coded {
        let mut lines = headers.get_all(CONTENT_ENCODING).iter();
        let Some(line) = lines.next() else {
            return Coded::Plain;
        };
        let name = line.to_str().unwrap_or_default().trim();
        let coding = match self.codings.iter().find(|coding| coding.is_named(name)) {
            _ if lines.next().is_some() => return Coded::Unknown,
            Some(coding) => *coding,
            None if name.is_empty() || name.eq_ignore_ascii_case("identity") => {
                return Coded::Plain;
            }
            None => return Coded::Unknown,
        };
        let declared = declared_length(headers);
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
        Coded::Known { coding, declared }
    }

    /// Returns what undoes a coding.
    pub(super) fn decoder(&self, coding: RequestCoding) -> BodyIn {
        BodyIn::new(coding, self.bounds)
    }

    /// Returns 415 with the codings that would have been right.
    pub(super) fn refuse(&self, headers: &HeaderMap) -> Answer {
        let found = headers.get(CONTENT_ENCODING);
        let found = found.and_then(|line| line.to_str().ok());
        let mut refused = answer(&Problem::unsupported_content_encoding(
            found.unwrap_or_default(),
        ));
        if let Ok(names) = HeaderValue::try_from(&self.names) {
            refused.headers_mut().insert(ACCEPT_ENCODING, names);
        }
        refused
    }
}
