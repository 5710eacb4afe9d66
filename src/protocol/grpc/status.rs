//! How a call ends: status codes and the trailers that carry them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// `grpc-status`.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`, percent-encoded.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a message's bytes are encoded for: controls, `%` and everything beyond ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// A status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are gRPC's, and its guide says what they mean"
)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [(Self, &'static str); 17] = [
        (Self::Ok, "OK"),
        (Self::Cancelled, "CANCELLED"),
        (Self::Unknown, "UNKNOWN"),
        (Self::InvalidArgument, "INVALID_ARGUMENT"),
        (Self::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (Self::NotFound, "NOT_FOUND"),
        (Self::AlreadyExists, "ALREADY_EXISTS"),
        (Self::PermissionDenied, "PERMISSION_DENIED"),
        (Self::ResourceExhausted, "RESOURCE_EXHAUSTED"),
        (Self::FailedPrecondition, "FAILED_PRECONDITION"),
        (Self::Aborted, "ABORTED"),
        (Self::OutOfRange, "OUT_OF_RANGE"),
        (Self::Unimplemented, "UNIMPLEMENTED"),
        (Self::Internal, "INTERNAL"),
        (Self::Unavailable, "UNAVAILABLE"),
        (Self::DataLoss, "DATA_LOSS"),
        (Self::Unauthenticated, "UNAUTHENTICATED"),
    ];

    /// The code of this number, 0 to 16.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL
            .get(usize::try_from(number).ok()?)
            .map(|(code, _)| *code)
    }

    /// The code of this name, e.g. `NOT_FOUND`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, one)| *one == name)
            .map(|(code, _)| *code)
    }

    /// The name, e.g. `NOT_FOUND`.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// What an answer of the HTTP policy means to a gRPC client, which reads no HTTP status.
    pub fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Ok,
            400 | 422 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 | 405 | 501 => Self::Unimplemented,
            408 | 504 => Self::DeadlineExceeded,
            413 | 429 | 431 => Self::ResourceExhausted,
            502 | 503 => Self::Unavailable,
            500 => Self::Internal,
            _ => Self::Unknown,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// What a developer may read; any text.
    pub message: String,
}

impl Status {
    /// A status with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Adds the status to the trailers, or to the head of a response that is only trailers.
    pub fn write(&self, trailers: &mut HeaderMap) {
        trailers.insert(GRPC_STATUS, HeaderValue::from(self.code as u16));
        if self.message.is_empty() {
            return;
        }
        let encoded = utf8_percent_encode(&self.message, ENCODED).to_string();
        // Percent-encoded text has visible ASCII characters and blanks only.
        if let Ok(value) = HeaderValue::try_from(encoded) {
            trailers.insert(GRPC_MESSAGE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_specification() {
        for (number, (code, name)) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(
                Code::from_number(i64::try_from(number).unwrap()),
                Some(code)
            );
            assert_eq!(Code::from_name(name), Some(code));
            assert_eq!(code.name(), name);
        }
        assert_eq!(Code::from_number(17), None);
        assert_eq!(Code::from_number(-1), None);
        assert_eq!(Code::from_name("ok"), None);
    }

    #[test]
    fn a_message_is_percent_encoded() {
        let cases = [
            ("plain text!", "plain text!"),
            ("100%", "100%25"),
            ("a\r\nb", "a%0D%0Ab"),
            ("é", "%C3%A9"),
            ("\u{7f}~", "%7F~"),
        ];
        for (message, expected) in cases {
            let mut trailers = HeaderMap::new();
            Status::new(Code::Internal, message).write(&mut trailers);
            assert_eq!(trailers[GRPC_STATUS], "13");
            assert_eq!(trailers[GRPC_MESSAGE], expected);
        }
        let mut trailers = HeaderMap::new();
        Status::new(Code::Ok, "").write(&mut trailers);
        assert_eq!(trailers.len(), 1);
    }

    #[test]
    fn policy_answers_have_a_code() {
        let cases = [
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (408, Code::DeadlineExceeded),
            (413, Code::ResourceExhausted),
            (429, Code::ResourceExhausted),
            (503, Code::Unavailable),
            (500, Code::Internal),
            (418, Code::Unknown),
        ];
        for (status, expected) in cases {
            assert_eq!(
                Code::from_http(StatusCode::from_u16(status).unwrap()),
                expected
            );
        }
    }
}
