//! Refusals for gRPC clients, which read no HTTP status: the same answer as a status in the head of
//! a response that is nothing but trailers.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, response};
use serde_json::Value;

use crate::message::body::ResponseBody;
use crate::message::problem;
use crate::protocol::grpc::request::is_call;
use crate::protocol::grpc::status::{Code, Status};

/// Turns an HTTP error into the end of a call; anything else stays as it is.
pub(super) fn translate(head: &mut response::Parts, body: ResponseBody) -> ResponseBody {
    let is_error = head.status.is_client_error() || head.status.is_server_error();
    if !is_error || is_call(&head.headers) {
        return body;
    }
    let status = Status::new(Code::from_http(head.status), detail(head, &body));
    head.status = StatusCode::OK;
    head.headers.remove(CONTENT_LENGTH);
    let content_type = HeaderValue::from_static("application/grpc");
    head.headers.insert(CONTENT_TYPE, content_type);
    status.write(&mut head.headers);
    ResponseBody::Empty
}

/// What a problem document says to a developer.
fn detail(head: &response::Parts, body: &ResponseBody) -> String {
    let is_problem = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|media| media == problem::CONTENT_TYPE);
    let document = match body {
        ResponseBody::Full(bytes) if is_problem => serde_json::from_slice::<Value>(bytes).ok(),
        _ => None,
    };
    let detail = document
        .as_ref()
        .and_then(|document| document["detail"].as_str());
    detail.unwrap_or_default().to_owned()
}
