//! Compression and the fields of responses.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::*;
use crate::message::body::Aborted;
use crate::pipeline::encoder::tests::decode;

const TEXT: &str = "the same again and again, ";

fn app(compression: &Value) -> App {
    let mut app = App::new(&json!({"compression": compression}));
    app.add("GET", "/plain", &json!({"compress": false}));
    app
}

/// A response of this many bytes of text, with further fields.
fn response(length: usize, fields: &[(&'static str, &'static str)]) -> Response<ResponseBody> {
    let text: String = TEXT.chars().cycle().take(length).collect();
    let mut response = Response::new(ResponseBody::from_bytes(text.into()));
    for (name, value) in [("content-type", "application/json")].iter().chain(fields) {
        response
            .headers_mut()
            .insert(*name, HeaderValue::from_static(value));
    }
    response
}

fn accepting(method: &str, target: &str, codings: &str) -> Head {
    head(method, target, &[("accept-encoding", codings)])
}

#[test]
fn the_client_gets_the_coding_that_it_likes_best() {
    let app = app(&json!({}));
    for (codings, expected) in [
        ("gzip", Some(Coding::Gzip)),
        ("br", Some(Coding::Brotli)),
        ("zstd", Some(Coding::Zstd)),
        ("gzip;q=1, br;q=0.9", Some(Coding::Gzip)),
        ("gzip;q=0, *;q=0", None),
        ("identity;q=0", None),
        ("br;q=1.0001", None),
        ("", None),
    ] {
        let reply = app.send_to(accepting("GET", "/items", codings), |_| response(5000, &[]));
        let name = expected.map(|coding| coding.as_str().to_owned());
        assert_eq!(reply.field("content-encoding"), name, "{codings}");
        assert_eq!(
            reply.field("vary").as_deref(),
            Some("Accept-Encoding"),
            "{codings}"
        );
        let plain = expected.map_or(reply.body.clone(), |coding| decode(coding, &reply.body));
        assert_eq!(plain.len(), 5000, "{codings}");
        if expected.is_some() {
            let length = reply.field("content-length").unwrap();
            assert_eq!(length, reply.body.len().to_string());
        }
    }
}

#[test]
fn a_coding_that_is_switched_off_is_not_used() {
    let app = app(&json!({"brotli": false, "zstd": false}));
    let reply = app.send_to(accepting("GET", "/items", "zstd, br, gzip;q=0.1"), |_| {
        response(5000, &[])
    });
    assert_eq!(reply.field("content-encoding").as_deref(), Some("gzip"));
    for off in [
        json!(null),
        json!({"gzip": false, "brotli": false, "zstd": false}),
    ] {
        let app = App::new(&json!({"compression": off}));
        let reply = app.send_to(accepting("GET", "/items", "gzip"), |_| response(5000, &[]));
        assert_eq!(
            (reply.field("content-encoding"), reply.field("vary")),
            (None, None)
        );
    }
}

#[test]
fn responses_that_must_not_change_do_not() {
    let app = app(&json!({"min_size": 100}));
    for (status, length, fields, encoded) in [
        (200, 100, &[] as &[_], true),
        (404, 100, &[], true),
        (200, 99, &[], false),
        (200, 0, &[], false),
        (206, 500, &[], false),
        (200, 500, &[("content-range", "bytes 0-499/1000")], false),
        (200, 500, &[("content-encoding", "br")], false),
        (
            200,
            500,
            &[("cache-control", "public, No-Transform")],
            false,
        ),
        (200, 500, &[("content-type", "image/png")], false),
        (
            200,
            500,
            &[("content-type", "application/octet-stream")],
            false,
        ),
        (
            200,
            500,
            &[("content-type", "application/grpc+proto")],
            false,
        ),
        (200, 500, &[("content-type", "application/grpc")], false),
        (200, 500, &[("content-type", "font/woff2")], false),
        (200, 500, &[("content-type", "image/svg+xml")], true),
        (
            200,
            500,
            &[("content-type", "application/problem+json")],
            true,
        ),
        (
            200,
            500,
            &[("content-type", "Text/HTML; charset=utf-8")],
            true,
        ),
    ] {
        let reply = app.send_to(accepting("GET", "/items", "gzip"), |_| {
            let mut response = response(length, fields);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        let found = reply.field("content-encoding").as_deref() == Some("gzip");
        assert_eq!(found, encoded, "{status} {length} {fields:?}");
    }
    for status in [204, 205, 304] {
        let reply = app.send_to(accepting("GET", "/items", "gzip"), |_| {
            let mut response = response(0, &[]);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        assert!(
            reply.body.is_empty() && reply.field("content-encoding").is_none(),
            "{status}"
        );
    }
    let reply = app.send_to(accepting("HEAD", "/items", "gzip"), |_| response(500, &[]));
    assert_eq!(reply.field("content-encoding"), None);
    let reply = app.send_to(accepting("GET", "/plain", "gzip"), |_| response(500, &[]));
    assert_eq!(
        (reply.field("content-encoding"), reply.field("vary")),
        (None, None)
    );
}

#[test]
fn a_strong_etag_becomes_weak_and_ranges_are_no_longer_offered() {
    let app = app(&json!({}));
    for (etag, expected) in [("\"abc\"", "W/\"abc\""), ("W/\"abc\"", "W/\"abc\"")] {
        let reply = app.send_to(accepting("GET", "/items", "gzip"), |_| {
            response(
                5000,
                &[
                    ("etag", etag),
                    ("accept-ranges", "bytes"),
                    ("content-length", "5000"),
                ],
            )
        });
        assert_eq!(reply.field("etag").as_deref(), Some(expected));
        assert_eq!(reply.field("accept-ranges"), None);
        assert_ne!(reply.field("content-length").as_deref(), Some("5000"));
    }
}

#[test]
fn the_applications_vary_stays() {
    let app = app(&json!({}));
    for (own, expected) in [
        ("Cookie", "Cookie, Accept-Encoding"),
        ("accept-encoding", "accept-encoding"),
        ("*", "*"),
    ] {
        let reply = app.send_to(accepting("GET", "/items", "gzip"), |_| {
            response(5000, &[("vary", own)])
        });
        assert_eq!(reply.field("vary").as_deref(), Some(expected));
    }
}

#[test]
fn every_quality_is_taken_by_every_coding() {
    for quality in [0, 1, 9, 10, 11] {
        let app = app(&json!({"quality": quality}));
        for coding in Coding::ALL {
            let reply = app.send_to(accepting("GET", "/items", coding.as_str()), |_| {
                response(5000, &[])
            });
            assert_eq!(
                decode(coding, &reply.body).len(),
                5000,
                "{coding:?} {quality}"
            );
        }
    }
    for quality in [json!(12), json!(-1), json!(1.5), json!("6")] {
        let config = json!({"compression": {"quality": quality}});
        let error = App::try_new(&config).err().unwrap().to_string();
        assert!(error.starts_with("compression.quality"), "{error}");
    }
}

#[test]
fn large_bodies_are_encoded_on_the_blocking_pool() {
    for quality in [1, 6] {
        let app = app(&json!({"quality": quality}));
        for coding in Coding::ALL {
            let reply = app.send_to(accepting("GET", "/items", coding.as_str()), |_| {
                response(1 << 20, &[])
            });
            assert_eq!(reply.field("content-length"), None);
            assert_eq!(
                decode(coding, &reply.body).len(),
                1 << 20,
                "{coding:?} {quality}"
            );
        }
    }
}

/// A body of pieces, with trailers or a cut at its end.
struct Pieces {
    left: Vec<&'static str>,
    end: Option<Result<HeaderMap, Aborted>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        if self.left.is_empty() {
            return Poll::Ready(self.end.take().map(|end| end.map(Frame::trailers)));
        }
        let piece = self.left.remove(0);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }
}

fn stream(app: &App, pieces: Pieces) -> (HeaderMap, ResponseBody) {
    let mut head = accepting("GET", "/items", "gzip");
    let (ticket, _) = app.pipeline.begin(&mut head);
    let response = Response::builder().header("content-type", "text/event-stream");
    let (mut parts, ()) = response.body(()).unwrap().into_parts();
    let body = ResponseBody::Stream(Box::pin(pieces));
    let body = app.pipeline.finish(&ticket, &mut parts, body);
    (parts.headers, body)
}

#[test]
fn each_piece_of_a_stream_can_be_read_as_soon_as_it_is_sent() {
    let events = vec!["data: 1\n\n", "", "data: 2\n\n", "data: 3\n\n"];
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("6"));
    let pieces = Pieces {
        left: events,
        end: Some(Ok(trailers)),
    };
    let (headers, mut body) = stream(&app(&json!({})), pieces);
    assert_eq!(headers["content-encoding"], "gzip");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut next = || runtime.block_on(body.frame()).unwrap().unwrap();
    let mut coded = Vec::new();
    for read in [
        "data: 1\n\n",
        "data: 1\n\ndata: 2\n\n",
        "data: 1\n\ndata: 2\n\ndata: 3\n\n",
    ] {
        coded.extend_from_slice(&next().into_data().unwrap());
        assert_eq!(decode(Coding::Gzip, &coded), read.as_bytes());
    }
    coded.extend_from_slice(&next().into_data().unwrap());
    assert_eq!(next().into_trailers().unwrap()["x-sum"], "6");
    assert!(runtime.block_on(body.frame()).is_none());
    let mut whole = flate2::read::GzDecoder::new(coded.as_slice());
    let length = std::io::copy(&mut whole, &mut std::io::sink()).unwrap();
    assert_eq!(length, 27, "the coded form is complete");
}

#[test]
fn a_stream_that_is_cut_stays_cut() {
    let pieces = Pieces {
        left: vec!["data: 1\n\n"],
        end: Some(Err(Aborted)),
    };
    let (_, body) = stream(&app(&json!({})), pieces);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert!(matches!(runtime.block_on(body.collect()), Err(Aborted)));
}

#[test]
fn a_door_without_a_runtime_drives_the_encoder_itself() {
    let app = app(&json!({}));
    let mut head = accepting("GET", "/items", "br");
    let (ticket, _) = app.pipeline.begin(&mut head);
    let (mut parts, _) = response(0, &[]).into_parts();
    let mut filter = app.pipeline.finish_head(&ticket, &mut parts, None).unwrap();
    let mut coded = filter.push(b"one").unwrap().to_vec();
    assert_eq!(decode(Coding::Brotli, &coded), b"one");
    coded.extend_from_slice(&filter.finish().unwrap());
    assert_eq!(decode(Coding::Brotli, &coded), b"one");
    assert_eq!(parts.headers["content-encoding"], "br");
    let (mut parts, _) = response(0, &[]).into_parts();
    assert!(
        app.pipeline
            .finish_head(&ticket, &mut parts, Some(10))
            .is_none()
    );
}

#[test]
fn configured_fields_are_added_and_security_fields_fill_gaps() {
    let app = App::new(&json!({
        "headers": [["x-served-by", "unit"], ["link", "</b>"]],
        "security_headers": {"frame_options": "SAMEORIGIN", "content_security_policy": "default-src 'self'"},
    }));
    let reply = app.send_to(head("GET", "/items", &[]), |_| {
        response(
            10,
            &[
                ("link", "</a>"),
                ("content-security-policy", "default-src 'none'"),
            ],
        )
    });
    for (name, value) in [
        ("x-served-by", "unit"),
        ("link", "</a>, </b>"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'"),
    ] {
        assert_eq!(reply.field(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(
        reply.field("strict-transport-security"),
        None,
        "never over plain HTTP"
    );
    let proxied = App::new(&json!({"security_headers": {}, "trusted_proxies": ["192.0.2.1"]}));
    let reply = proxied.get("/items", &[("x-forwarded-proto", "https")]);
    let strict = reply.field("strict-transport-security");
    assert_eq!(strict.as_deref(), Some("max-age=31536000"));
    for config in [
        json!({"headers": [["bad name", "x"]]}),
        json!({"headers": [["x", "a\nb"]]}),
        json!({"security_headers": {"frame_options": "a\nb"}}),
    ] {
        assert!(App::try_new(&config).is_err(), "{config}");
    }
}
