//! The answers that policies give themselves: problem details with the fields that go with them.

use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode, response};
use serde_json::Value;

use crate::message::body::{BodyError, ResponseBody};
use crate::message::problem::{self, Problem};

/// Whether a response says that its body is a problem document.
pub(super) fn is_problem(head: &response::Parts) -> bool {
    let media = head.headers.get(CONTENT_TYPE);
    media.is_some_and(|media| media == problem::CONTENT_TYPE)
}

/// Turns a problem document into `{"detail": ...}`; one that is streamed stays as it is.
pub(super) fn shortened(head: &mut response::Parts, body: ResponseBody) -> ResponseBody {
    let ResponseBody::Full(document) = &body else {
        return body;
    };
    let Ok(Value::Object(mut members)) = serde_json::from_slice(document) else {
        return body;
    };
    members.retain(|name, _| name == "detail");
    let text = Value::Object(members).to_string();
    head.headers.remove(CONTENT_LENGTH);
    let content_type = HeaderValue::from_static("application/json");
    head.headers.insert(CONTENT_TYPE, content_type);
    ResponseBody::from_bytes(text.into())
}

/// A response that the pipeline makes itself, before `finish`.
pub(super) type Answer = Response<ResponseBody>;

/// Turns a problem into a response without further fields.
pub fn answer(problem: &Problem) -> Response<ResponseBody> {
    let mut answer = Response::new(ResponseBody::from_bytes(problem.to_bytes()));
    *answer.status_mut() = problem.status();
    let content_type = HeaderValue::from_static(problem::CONTENT_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// 401 with the scheme that would have helped.
pub(super) fn unauthorized(
    title: &'static str,
    detail: impl Into<Value>,
    challenge: HeaderValue,
) -> Answer {
    let mut answer = answer(&Problem::unauthorized(title, detail));
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    answer
}

/// 403.
pub(super) fn forbidden(detail: &str) -> Answer {
    answer(&Problem::of_status(
        StatusCode::FORBIDDEN,
        Some(detail.into()),
    ))
}

/// 405 with the methods that would have been right.
pub(super) fn method_not_allowed(allow: HeaderValue) -> Answer {
    let mut answer = answer(&Problem::method_not_allowed());
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
///
/// RFC 9110 §15.5.9: such an answer closes the connection; HTTP/2 leaves the field out.
pub fn request_timeout() -> Response<ResponseBody> {
    let mut answer = answer(&Problem::request_timeout());
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Returns what a request is answered whose body could not be read; `None` where that is the
/// server's own business.
pub fn body_refusal(error: BodyError) -> Option<Response<ResponseBody>> {
    let problem = match error {
        BodyError::TooLarge { limit } => Problem::payload_too_large(limit),
        BodyError::Inflated { ratio } => Problem::inflated(ratio),
        BodyError::Undecodable => Problem::bad_request(error.to_string()),
        BodyError::Gone | BodyError::Malformed | BodyError::TooSlow => return None,
    };
    Some(answer(&problem))
}

/// Returns 413: the request's body is longer than `limit` bytes.
pub fn payload_too_large(limit: u64) -> Response<ResponseBody> {
    answer(&Problem::payload_too_large(limit))
}

/// Returns 503: as many handlers run and wait as may.
pub fn overloaded() -> Response<ResponseBody> {
    let mut answer = answer(&Problem::service_unavailable(
        "the server is busy, try again",
    ));
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
