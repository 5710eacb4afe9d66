//! Compression of responses: which ones, in which coding, and what their heads say of it.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG,
};
use http::{HeaderMap, HeaderValue, StatusCode, response};

use super::coding::{Accepted, Coding};
use super::config::{CompressionConfig, ConfigError};
use super::encoded_body::EncodedBody;
use super::encoder::{BodyOut, encode};
use crate::message::body::ResponseBody;

/// The compiled policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compression {
    gzip: bool,
    brotli: bool,
    zstd: bool,
    min_size: u64,
    quality: u8,
}

impl Compression {
    /// Compiles the policy; `None` when it offers no coding.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for a quality above 11.
    pub(super) fn new(config: &CompressionConfig) -> Result<Option<Self>, ConfigError> {
        if config.quality > MAX_QUALITY {
            let expected = format!("0 to {MAX_QUALITY}");
            return Err(ConfigError::value(
                "compression.quality",
                config.quality,
                expected,
            ));
        }
        let compression = Self {
            gzip: config.gzip,
            brotli: config.brotli,
            zstd: config.zstd,
            min_size: config.min_size,
            quality: config.quality,
        };
        let is_on = Coding::ALL.iter().any(|coding| compression.offers(*coding));
        Ok(is_on.then_some(compression))
    }

    /// Decides about a response and changes its head accordingly; `length` is that of the whole
    /// body, where it is known.
    pub(super) fn choose(
        &self,
        accepted: Accepted,
        head: &mut response::Parts,
        length: Option<u64>,
    ) -> Option<Coding> {
        if !self.applies(head, length) {
            return None;
        }
        super::add_vary(&mut head.headers, VARY_ACCEPT_ENCODING);
        accepted.best(|coding| self.offers(coding))
    }

    /// Marks a response as encoded.
    pub(super) fn mark(coding: Coding, headers: &mut HeaderMap) {
        headers.insert(CONTENT_ENCODING, coding.header_value());
        headers.remove(CONTENT_LENGTH);
        // Ranges count in bytes of a representation that is made anew each time.
        headers.remove(ACCEPT_RANGES);
        // RFC 9110 §8.8.3: not the same bytes, so no longer a strong validator.
        let weak = headers
            .get(ETAG)
            .filter(|etag| !etag.as_bytes().starts_with(b"W/"))
            .and_then(|etag| HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()).ok());
        if let Some(weak) = weak {
            headers.insert(ETAG, weak);
        }
    }

    /// Encodes a body: a short one at once, any other as it is sent.
    pub(super) fn wrap(
        &self,
        coding: Coding,
        head: &mut response::Parts,
        body: ResponseBody,
    ) -> ResponseBody {
        let inline_bytes = self.inline_bytes(coding);
        if let ResponseBody::Full(bytes) = &body
            && bytes.len() <= inline_bytes
        {
            return match encode(coding, self.quality, bytes) {
                Ok(coded) if coded.len() < bytes.len() => {
                    Self::mark(coding, &mut head.headers);
                    head.headers.insert(CONTENT_LENGTH, coded.len().into());
                    ResponseBody::from_bytes(Bytes::from(coded))
                }
                // Bytes that do not get shorter travel as they are.
                _ => body,
            };
        }
        Self::mark(coding, &mut head.headers);
        let encoder = self.encoder(coding);
        ResponseBody::Stream(Box::pin(EncodedBody::new(body, encoder, inline_bytes)))
    }

    /// An encoder for a body that the owner drives itself.
    pub(super) fn encoder(&self, coding: Coding) -> BodyOut {
        BodyOut::new(coding, self.quality)
    }

    fn offers(&self, coding: Coding) -> bool {
        match coding {
            Coding::Zstd => self.zstd,
            Coding::Brotli => self.brotli,
            Coding::Gzip => self.gzip,
        }
    }

    fn applies(&self, head: &response::Parts, length: Option<u64>) -> bool {
        let headers = &head.headers;
        let has_body = !head.status.is_informational()
            && ![
                StatusCode::NO_CONTENT,
                StatusCode::RESET_CONTENT,
                StatusCode::PARTIAL_CONTENT,
                StatusCode::NOT_MODIFIED,
            ]
            .contains(&head.status);
        has_body
            && length.is_none_or(|length| length > 0 && length >= self.min_size)
            && !headers.contains_key(CONTENT_ENCODING)
            && !headers.contains_key(CONTENT_RANGE)
            && headers.get(CONTENT_TYPE).is_some_and(is_compressible)
            && !headers
                .get_all(CACHE_CONTROL)
                .iter()
                .any(forbids_transformation)
    }

    /// The longest piece that is encoded on the loop's thread.
    fn inline_bytes(&self, coding: Coding) -> usize {
        let is_cheap = match coding {
            Coding::Zstd => self.quality <= 6,
            Coding::Brotli | Coding::Gzip => self.quality <= 3,
        };
        if is_cheap {
            CHEAP_INLINE_BYTES
        } else {
            INLINE_BYTES
        }
    }
}

/// `CompressionConfig.quality` at most; brotli's own range.
const MAX_QUALITY: u8 = 11;

/// Longer pieces at an expensive level would hold up everybody else for milliseconds.
const INLINE_BYTES: usize = 64 * 1024;

/// The same for levels that make at least some hundred megabytes a second.
const CHEAP_INLINE_BYTES: usize = 512 * 1024;

const VARY_ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// Whether bytes of this media type get shorter: text of any kind, but no gRPC, whose messages
/// have a compression of their own.
fn is_compressible(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let essence = text
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    if essence.starts_with("text/") {
        return true;
    }
    let Some(subtype) = essence.strip_prefix("application/") else {
        return matches!(
            essence.as_str(),
            "image/svg+xml" | "image/bmp" | "image/x-icon"
        ) || (essence.starts_with("font/") && !essence.starts_with("font/woff"));
    };
    ["+json", "+xml", "+yaml"]
        .iter()
        .any(|suffix| subtype.ends_with(suffix))
        || [
            "json",
            "ndjson",
            "x-ndjson",
            "jsonl",
            "json-seq",
            "javascript",
            "x-javascript",
            "ecmascript",
            "xml",
            "yaml",
            "x-yaml",
            "toml",
            "wasm",
            "graphql",
            "sql",
            "rtf",
            "x-www-form-urlencoded",
            "vnd.ms-fontobject",
        ]
        .contains(&subtype)
}

/// RFC 9111 §5.2.2.6.
fn forbids_transformation(cache_control: &HeaderValue) -> bool {
    cache_control.to_str().is_ok_and(|text| {
        text.split(',')
            .any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
    })
}
