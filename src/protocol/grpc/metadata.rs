//! Metadata: the application's part of the headers and trailers, text or binary.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use super::status::{Code, Status};

/// Padding is not sent, and taken either way.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A value; binary under names that end in `-bin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Visible ASCII characters and blanks.
    Text(String),
    /// Any bytes, sent as base64.
    Binary(Bytes),
}

/// Metadata that cannot be sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MetadataError {
    /// The name has other characters than lower-case letters, digits, `_`, `-` and `.`.
    #[error("expected a metadata key of a-z, 0-9, '_', '-' and '.', got '{}'", .0.escape_debug())]
    Key(String),
    /// The name belongs to gRPC or HTTP.
    #[error("expected a metadata key of the application's own, got '{0}'")]
    Reserved(String),
    /// The value is text under a `-bin` name, or binary under another.
    #[error("expected bytes for metadata keys that end in '-bin' and text for others, got '{0}'")]
    Kind(String),
    /// The text has characters that a header cannot carry; it may be a secret and is not shown.
    #[error("expected visible ASCII characters for metadata '{0}', got others")]
    Text(String),
    /// More than a header map holds.
    #[error("expected less metadata, got more than can be sent")]
    TooMuch,
}

/// The metadata among a request's headers, in order.
///
/// # Errors
/// `RESOURCE_EXHAUSTED` when it is larger than `max_bytes`, names and values and 32 bytes for
/// each (RFC 9113 §6.5.2); `INTERNAL` when a `-bin` value is no base64.
pub fn decode(headers: &HeaderMap, max_bytes: usize) -> Result<Vec<(String, Value)>, Status> {
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    if size > max_bytes {
        let message = format!("the metadata is larger than {max_bytes} bytes");
        return Err(Status::new(Code::ResourceExhausted, message));
    }
    let mut metadata = Vec::new();
    for (name, value) in headers {
        let name = name.as_str();
        if is_reserved(name) {
            continue;
        }
        if !name.ends_with("-bin") {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            metadata.push((name.to_owned(), Value::Text(text)));
            continue;
        }
        // Several values may come joined by commas, which base64 does not use.
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let bytes = BASE64.decode(part.trim_ascii()).map_err(|_| {
                Status::new(
                    Code::Internal,
                    format!("the metadata '{name}' is not base64"),
                )
            })?;
            metadata.push((name.to_owned(), Value::Binary(bytes.into())));
        }
    }
    Ok(metadata)
}

/// Adds one value to the headers or trailers of a response.
///
/// # Errors
/// When it cannot be sent; nothing is added then.
pub fn encode(headers: &mut HeaderMap, key: &str, value: &Value) -> Result<(), MetadataError> {
    let is_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
    let name = HeaderName::from_bytes(key.as_bytes())
        .ok()
        .filter(|_| key.bytes().all(is_key))
        .ok_or_else(|| MetadataError::Key(key.chars().take(64).collect()))?;
    if is_reserved(key) {
        return Err(MetadataError::Reserved(key.to_owned()));
    }
    let value = match (key.ends_with("-bin"), value) {
        (true, Value::Binary(bytes)) => HeaderValue::try_from(BASE64.encode(bytes)).ok(),
        (false, Value::Text(text)) => Some(text)
            .filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
            .and_then(|text| HeaderValue::from_str(text.trim_matches(' ')).ok()),
        _ => return Err(MetadataError::Kind(key.to_owned())),
    };
    let value = value.ok_or_else(|| MetadataError::Text(key.to_owned()))?;
    headers
        .try_append(name, value)
        .map_err(|_| MetadataError::TooMuch)?;
    Ok(())
}

/// Names of gRPC and of HTTP, which are not the application's.
fn is_reserved(name: &str) -> bool {
    name.starts_with("grpc-")
        || matches!(
            name,
            "te" | "content-type"
                | "content-length"
                | "host"
                | "connection"
                | "transfer-encoding"
                | "keep-alive"
                | "proxy-connection"
                | "upgrade"
                | "trailer"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 16 * 1024;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_applications_metadata_is_told_from_the_protocols() {
        let headers = map(&[
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "1S"),
            ("user-agent", "x"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-bin", "AAEC, /w=="),
            ("x-bin", "/w"),
        ]);
        let text = |value: &str| Value::Text(value.into());
        let binary = |value: &'static [u8]| Value::Binary(value.into());
        let expected = [
            ("user-agent", text("x")),
            ("x-a", text("1")),
            ("x-a", text("2")),
            ("x-bin", binary(&[0, 1, 2])),
            ("x-bin", binary(&[255])),
            ("x-bin", binary(&[255])),
        ];
        assert_eq!(
            decode(&headers, LIMIT).unwrap(),
            expected.map(|(name, value)| (name.to_owned(), value))
        );
    }

    #[test]
    fn broken_or_excessive_metadata_ends_the_call() {
        let error = decode(&map(&[("x-bin", "not base64!")]), LIMIT).unwrap_err();
        assert_eq!(error.code, Code::Internal);
        let error = decode(&map(&[("x", &"y".repeat(17 * 1024))]), LIMIT).unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
    }

    #[test]
    fn metadata_is_sent_as_it_will_be_read() {
        let mut headers = HeaderMap::new();
        encode(&mut headers, "x-a", &Value::Text("v 1".into())).unwrap();
        encode(
            &mut headers,
            "x-b-bin",
            &Value::Binary(Bytes::from_static(&[255])),
        )
        .unwrap();
        assert_eq!(headers["x-a"], "v 1");
        assert_eq!(headers["x-b-bin"], "/w");
        assert_eq!(decode(&headers, LIMIT).unwrap().len(), 2);
    }

    #[test]
    fn metadata_that_cannot_be_sent_is_refused() {
        let text = |value: &str| Value::Text(value.into());
        let cases = [
            ("", text("x")),
            ("X-A", text("x")),
            ("a b", text("x")),
            ("a:", text("x")),
            ("grpc-status", text("0")),
            ("content-length", text("0")),
            ("x-bin", text("x")),
            ("x", Value::Binary(Bytes::new())),
            ("x", text("a\r\nb: c")),
            ("x", text("é")),
            ("x", text("\0")),
        ];
        for (key, value) in cases {
            let mut headers = HeaderMap::new();
            assert!(
                encode(&mut headers, key, &value).is_err(),
                "{key:?} {value:?}"
            );
            assert!(headers.is_empty());
        }
    }
}
