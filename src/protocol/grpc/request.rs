//! What a call's head says: method, content type, deadline and message encodings.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use super::status::{Code, Status};

/// What messages may be compressed with, as `grpc-accept-encoding` lists it.
pub const ACCEPTED_ENCODINGS: HeaderValue = HeaderValue::from_static("identity,gzip");

/// How a message that has the compressed flag is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// gzip (RFC 1952).
    Gzip,
}

/// Whether a request is a call: `application/grpc`, maybe with a format or parameters.
pub fn is_call(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let Some((start, rest)) = value.as_bytes().split_at_checked("application/grpc".len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(b"application/grpc")
        && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Service and method of a path, `/package.Service/Method`.
///
/// Anything else is no path of a call, however it could be normalised: policies that look at
/// the path have to see the one that is called.
pub fn split_path(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
    };
    (is_name(service) && is_name(method)).then_some((service, method))
}

/// The time that the client gives the call; `None` when it sets no limit.
///
/// # Errors
/// `INTERNAL` when `grpc-timeout` is not one to eight digits and a unit.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    parse_timeout(value.as_bytes())
        .map(Some)
        .ok_or_else(|| Status::new(Code::Internal, "malformed grpc-timeout"))
}

fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// How the client compresses what it compresses.
///
/// # Errors
/// `UNIMPLEMENTED` for an encoding that is not ours; the answer then carries
/// [`ACCEPTED_ENCODINGS`].
pub fn encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(Encoding::Identity),
        Some(b"gzip") => Ok(Encoding::Gzip),
        Some(_) => Err(Status::new(
            Code::Unimplemented,
            "grpc-encoding is not supported",
        )),
    }
}

/// Whether the client reads messages in gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers
        .get_all("grpc-accept-encoding")
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .any(|one| one.trim() == "gzip")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for value in [
            "application/grpc",
            "Application/gRPC+proto",
            "application/grpc;x=y",
        ] {
            assert!(is_call(&map("content-type", value)), "{value}");
        }
        for value in [
            "application/grpc-web",
            "application/grp",
            "application/json",
            "x",
        ] {
            assert!(!is_call(&map("content-type", value)), "{value}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn only_service_and_method_make_a_path() {
        assert_eq!(split_path("/a.v1.Svc/Get_1"), Some(("a.v1.Svc", "Get_1")));
        let wrong = [
            "", "/", "Svc/M", "/svc", "/svc/", "//a/b", "/a//b", "/a/b/c", "/a%2Fb/c", "/a/b?c",
            "/a/../b", "/é/b", "/a b/c",
        ];
        for path in wrong {
            assert_eq!(split_path(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let cases = [
            ("1n", Duration::from_nanos(1)),
            ("5u", Duration::from_micros(5)),
            ("250m", Duration::from_millis(250)),
            ("7S", Duration::from_secs(7)),
            ("2M", Duration::from_secs(120)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
            ("0S", Duration::ZERO),
        ];
        for (value, expected) in cases {
            assert_eq!(
                timeout(&map("grpc-timeout", value)),
                Ok(Some(expected)),
                "{value}"
            );
        }
        for value in [
            "123456789S",
            "-1S",
            "+1S",
            "abc",
            "S",
            "1",
            "",
            "1s",
            "1.5S",
            "1 S",
        ] {
            let error = timeout(&map("grpc-timeout", value)).unwrap_err();
            assert_eq!(error.code, Code::Internal, "{value:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn gzip_and_identity_are_the_encodings() {
        assert_eq!(encoding(&HeaderMap::new()), Ok(Encoding::Identity));
        assert_eq!(
            encoding(&map("grpc-encoding", "identity")),
            Ok(Encoding::Identity)
        );
        assert_eq!(encoding(&map("grpc-encoding", "gzip")), Ok(Encoding::Gzip));
        let error = encoding(&map("grpc-encoding", "snappy")).unwrap_err();
        assert_eq!(error.code, Code::Unimplemented);
        assert!(accepts_gzip(&map("grpc-accept-encoding", "identity, gzip")));
        assert!(!accepts_gzip(&map(
            "grpc-accept-encoding",
            "identity,gzipped"
        )));
    }
}
