//! The redirect of requests without TLS to the same address with it (RFC 9110 §15.4.8).

use http::header::{HOST, LOCATION};
use http::{HeaderValue, Response, StatusCode};

use super::problem::Answer;
use crate::message::body::ResponseBody;
use crate::message::head::Head;

/// Returns 307 to the same address with TLS; `None` when the request names no host.
///
/// The port that belongs to plain HTTP goes; another one stays.
pub(super) fn redirect(head: &Head) -> Option<Answer> {
    let field = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    // RFC 9112 §3.2.2: an absolute target's authority counts instead of the field.
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = authority.or(field)?;
    let host = host.strip_suffix(":80").unwrap_or(host);
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let location = HeaderValue::from_str(&format!("https://{host}{target}")).ok()?;
    let mut answer = Response::new(ResponseBody::Empty);
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    answer.headers_mut().insert(LOCATION, location);
    Some(answer)
}
