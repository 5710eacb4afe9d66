//! The answers that policies give: problem details (RFC 9457) with the words of the contract.

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::message::body::ResponseBody;

/// A response that the pipeline makes itself, before `finish`.
pub(super) type Answer = Response<ResponseBody>;

/// Builds a problem: `slug` is the end of its `type`.
pub(super) fn problem(status: StatusCode, slug: &str, title: &str, detail: &str) -> Answer {
    let body = json!({
        "type": format!("https://spikard.dev/errors/{slug}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut answer = Response::new(ResponseBody::from_bytes(body.to_string().into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    answer
}

/// 400: the target or a field of the head makes no sense to a policy.
pub(super) fn bad_request(detail: &str) -> Answer {
    problem(StatusCode::BAD_REQUEST, "bad-request", "Bad Request", detail)
}

/// 401 with the scheme that would have helped.
pub(super) fn unauthorized(title: &str, detail: &str, challenge: HeaderValue) -> Answer {
    let mut answer = problem(StatusCode::UNAUTHORIZED, "unauthorized", title, detail);
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    answer
}

/// 403.
pub(super) fn forbidden(detail: &str) -> Answer {
    problem(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
}

/// 404.
pub(super) fn not_found() -> Answer {
    problem(
        StatusCode::NOT_FOUND,
        "not-found",
        "Not Found",
        "nothing is served at this path",
    )
}

/// 405 with the methods that would have been right.
pub(super) fn method_not_allowed(allow: HeaderValue) -> Answer {
    let mut answer = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Method Not Allowed",
        "this path is served, but not with this method",
    );
    answer.headers_mut().insert(ALLOW, allow);
    answer
}

/// 204 with the methods of the path: the answer to OPTIONS where no route gives its own.
pub(super) fn options(allow: HeaderValue) -> Answer {
    let mut answer = Response::new(ResponseBody::Empty);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(ALLOW, allow);
    answer
}

/// Returns 408: the head of the response was not there within `request_timeout`.
pub fn request_timeout() -> Answer {
    problem(
        StatusCode::REQUEST_TIMEOUT,
        "request-timeout",
        "Request Timeout",
        "the request was not answered in time",
    )
}

/// Returns 413: the request's body is longer than `limit` bytes.
pub fn payload_too_large(limit: u64) -> Answer {
    problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        "payload-too-large",
        "Payload Too Large",
        &format!("the request body is longer than {limit} bytes"),
    )
}

/// Returns 503: as many handlers run and wait as may.
pub fn overloaded() -> Answer {
    let mut answer = problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "service-unavailable",
        "Service Unavailable",
        "the server is busy, try again",
    );
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
