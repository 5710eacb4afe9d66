//! Problem details (RFC 9457): the body of every error that the framework itself makes.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

/// The media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What every problem's `type` begins with.
pub const TYPE_BASE: &str = "https://spikard.dev/errors/";

/// A problem document; headers such as `allow` are the caller's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: Cow<'static, str>,
    #[serde(serialize_with = "status_as_number")]
    status: StatusCode,
    detail: Value,
}

impl Problem {
    /// Returns a problem; `slug` is the last part of its type.
    pub fn new(
        status: StatusCode,
        slug: &str,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<Value>,
    ) -> Self {
        Self {
            kind: format!("{TYPE_BASE}{slug}"),
            title: title.into(),
            status,
            detail: detail.into(),
        }
    }

    /// Returns the problem of any status, with its reason phrase where nothing else is said.
    pub fn of_status(status: StatusCode, detail: Option<Value>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let words = title
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|w| !w.is_empty());
        let slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
        Self::new(status, &slug, title, detail.unwrap_or_else(|| title.into()))
    }

    /// Returns 400 for a request that cannot be read, with the reason as detail.
    pub fn bad_request(detail: impl Into<Value>) -> Self {
        Self::of_status(StatusCode::BAD_REQUEST, Some(detail.into()))
    }

    /// Returns 401; title and detail say what was missing or wrong.
    pub fn unauthorized(title: impl Into<Cow<'static, str>>, detail: impl Into<Value>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", title, detail)
    }

    /// Returns 404.
    pub fn not_found() -> Self {
        Self::of_status(StatusCode::NOT_FOUND, None)
    }

    /// Returns 405; the answer also needs `allow`.
    pub fn method_not_allowed() -> Self {
        Self::of_status(StatusCode::METHOD_NOT_ALLOWED, None)
    }

    /// Returns 408 for a request over its timeout.
    pub fn request_timeout() -> Self {
        Self::of_status(StatusCode::REQUEST_TIMEOUT, None)
    }

    /// Returns 413 for a body over its limit, in bytes.
    pub fn payload_too_large(limit: u64) -> Self {
        let detail = format!("Request body is larger than the limit of {limit} bytes");
        Self::of_status(StatusCode::PAYLOAD_TOO_LARGE, Some(detail.into()))
    }

    /// Returns 413 for a body that grows to more than `ratio` times its size when decoded.
    pub fn inflated(ratio: u32) -> Self {
        let detail = format!("Request body grows to more than {ratio} times its size when decoded");
        Self::of_status(StatusCode::PAYLOAD_TOO_LARGE, Some(detail.into()))
    }

    /// Returns 415 for a body in a content coding that is not undone; the answer also needs
    /// `accept-encoding`.
    pub fn unsupported_content_encoding(found: &str) -> Self {
        let detail = format!("Unsupported content encoding '{}'", shown(found));
        let (status, title) = (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Unsupported Content Encoding",
        );
        Self::new(status, "unsupported-content-encoding", title, detail)
    }

    /// Returns 429; the answer also needs `retry-after`.
    pub fn too_many_requests() -> Self {
        Self::of_status(StatusCode::TOO_MANY_REQUESTS, None)
    }

    /// Returns 500, which says nothing of what happened.
    pub fn internal_server_error() -> Self {
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR, None)
    }

    /// Returns 503, with the reason as detail.
    pub fn service_unavailable(detail: impl Into<Value>) -> Self {
        Self::of_status(StatusCode::SERVICE_UNAVAILABLE, Some(detail.into()))
    }

    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the type's URI.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns what the document says of this occurrence.
    pub fn detail(&self) -> &Value {
        &self.detail
    }

    /// Returns the document as JSON text, of media type [`CONTENT_TYPE`].
    pub fn to_bytes(&self) -> Bytes {
        json_text(self)
    }
}

fn json_text(problem: &Problem) -> Bytes {
    let text = serde_json::to_vec(problem).expect("a problem has text keys only");
    text.into()
}

/// Cuts what a client sent to a length that an answer may repeat.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn status_as_number<S: serde::Serializer>(
    status: &StatusCode,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.to_bytes()).unwrap()
    }

    #[test]
    fn every_problem_has_its_type_title_status_and_detail() {
        for (problem, slug, status, title, detail) in [
            (
                Problem::bad_request("x"),
                "bad-request",
                400,
                "Bad Request",
                "x",
            ),
            (
                Problem::unauthorized("Missing API key", "d"),
                "unauthorized",
                401,
                "Missing API key",
                "d",
            ),
            (
                Problem::not_found(),
                "not-found",
                404,
                "Not Found",
                "Not Found",
            ),
            (
                Problem::request_timeout(),
                "request-timeout",
                408,
                "Request Timeout",
                "Request Timeout",
            ),
            (
                Problem::payload_too_large(1024),
                "payload-too-large",
                413,
                "Payload Too Large",
                "Request body is larger than the limit of 1024 bytes",
            ),
            (
                Problem::unsupported_content_encoding("pack"),
                "unsupported-content-encoding",
                415,
                "Unsupported Content Encoding",
                "Unsupported content encoding 'pack'",
            ),
            (
                Problem::service_unavailable("busy"),
                "service-unavailable",
                503,
                "Service Unavailable",
                "busy",
            ),
        ] {
            let kind = format!("https://spikard.dev/errors/{slug}");
            let expected =
                json!({"type": kind, "title": title, "status": status, "detail": detail});
            assert_eq!(document(&problem), expected);
            assert_eq!(problem.status().as_u16(), status);
        }
    }

    #[test]
    fn a_problem_without_more_to_say_has_the_reason_phrase() {
        for (problem, status, slug, phrase) in [
            (
                Problem::method_not_allowed(),
                405,
                "method-not-allowed",
                "Method Not Allowed",
            ),
            (
                Problem::too_many_requests(),
                429,
                "too-many-requests",
                "Too Many Requests",
            ),
            (
                Problem::internal_server_error(),
                500,
                "internal-server-error",
                "Internal Server Error",
            ),
            (
                Problem::of_status(StatusCode::IM_A_TEAPOT, None),
                418,
                "i-m-a-teapot",
                "I'm a teapot",
            ),
        ] {
            let kind = format!("https://spikard.dev/errors/{slug}");
            let expected =
                json!({"type": kind, "title": phrase, "status": status, "detail": phrase});
            assert_eq!(document(&problem), expected);
        }
    }

    #[test]
    fn the_members_come_in_the_order_of_the_contract() {
        let text = Problem::not_found().to_bytes();
        assert_eq!(
            text,
            r#"{"type":"https://spikard.dev/errors/not-found","title":"Not Found","status":404,"detail":"Not Found"}"#
        );
    }

    #[test]
    fn what_a_client_sent_is_repeated_only_in_part() {
        let text = Problem::unsupported_content_encoding(&"x".repeat(100_000)).to_bytes();
        assert!(text.len() < 400);
    }
}
