//! Static files.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A directory with a bit of everything, beside one that must never be reached.
fn directory() -> TempDir {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("static");
    let beside = outer.path().join("static2");
    for path in [
        &root.join("sub"),
        &root.join("linked-index"),
        &root.join(".well-known"),
        &root.join(".git"),
        &beside,
    ] {
        std::fs::create_dir_all(path).unwrap();
    }
    for (path, text) in [
        ("static/hello.txt", "Hello from static storage"),
        ("static/digits.txt", "0123456789"),
        ("static/page.html", "<p>"),
        ("static/index.html", "<h1>Welcome</h1>"),
        ("static/sub/index.html", "<h1>Sub</h1>"),
        ("static/with space.txt", "space"),
        ("static/.env", "secret"),
        ("static/.git/config", "secret"),
        ("static/.well-known/security.txt", "contact"),
        ("static/app.js", "plain script"),
        ("static/app.js.br", "brotli script"),
        ("static/app.js.gz", "gzip script"),
        ("static2/x", "beside"),
        ("secret.txt", "outside"),
    ] {
        std::fs::write(outer.path().join(path), text).unwrap();
    }
    symlink(outer.path().join("secret.txt"), root.join("link.txt")).unwrap();
    symlink(&beside, root.join("linkdir")).unwrap();
    symlink("hello.txt", root.join("inner.txt")).unwrap();
    symlink(
        outer.path().join("secret.txt"),
        root.join("linked-index/index.html"),
    )
    .unwrap();
    symlink("/dev/zero", root.join("zero")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    UnixListener::bind(root.join("socket")).unwrap();
    outer
}

fn app_with(outer: &Path, extra: &Value) -> App {
    let mut mount = json!({"directory": outer.join("static"), "route_prefix": "/static"});
    for (name, value) in extra.as_object().unwrap() {
        mount[name] = value.clone();
    }
    App::new(&json!({"static_files": [mount], "compression": null}))
}

#[test]
fn files_are_served_with_their_type_and_validators() {
    let outer = directory();
    let app = app_with(
        outer.path(),
        &json!({"cache_control": "public, max-age=60"}),
    );
    for (target, media, body) in [
        (
            "/static/hello.txt",
            "text/plain",
            "Hello from static storage",
        ),
        ("/static/page.html", "text/html", "<p>"),
        ("/static/with%20space.txt", "text/plain", "space"),
        (
            "/static/inner.txt",
            "text/plain",
            "Hello from static storage",
        ),
        ("/static/.well-known/security.txt", "text/plain", "contact"),
        ("/static/", "text/html", "<h1>Welcome</h1>"),
        ("/static/sub/", "text/html", "<h1>Sub</h1>"),
    ] {
        let reply = app.get(target, &[]);
        assert_eq!(
            (reply.status.as_u16(), reply.reached),
            (200, Some("file")),
            "{target}"
        );
        assert_eq!(reply.body, body.as_bytes(), "{target}");
        for (name, value) in [
            ("content-type", media),
            ("content-length", &body.len().to_string()),
            ("cache-control", "public, max-age=60"),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(reply.field(name).as_deref(), Some(value), "{target} {name}");
        }
        assert!(reply.field("etag").unwrap().starts_with('"'));
        assert!(reply.field("last-modified").unwrap().ends_with("GMT"));
    }
}

#[test]
fn nothing_outside_and_nothing_hidden_or_special_is_served() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    let long_name = format!("/static/{}", "n".repeat(300));
    let long_path = format!("/static/{}", "p/".repeat(3000));
    for target in [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/%2E%2E/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/%252e%252e/secret.txt",
        "/static/..%5csecret.txt",
        "/static/..\\secret.txt",
        "/static/%c0%ae%c0%ae/secret.txt",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static2/x",
        "/static/../static2/x",
        "/static/./hello.txt",
        "/static/sub//index.html",
        "/static/link.txt",
        "/static/linkdir/x",
        "/static/linked-index/",
        "/static/linked-index",
        "/static/zero",
        "/static/pipe",
        "/static/socket",
        "/static/.env",
        "/static/%2eenv",
        "/static/.git/config",
        "/static/missing",
        "/static/hello.txt/",
        "/static/hello.txt/x",
        "/static/a%00b",
        "/static/a%0ab",
        long_name.as_str(),
        long_path.as_str(),
    ] {
        let Ok(uri) = target.parse::<http::Uri>() else {
            continue;
        };
        let mut request = head("GET", "/", &[]);
        request.uri = uri;
        let reply = app.send(request);
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(reply.words().0, "not-found", "{target}");
    }
}

#[test]
fn links_may_lead_out_when_it_is_asked_for() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({"follow_symlinks": true}));
    assert_eq!(app.get("/static/link.txt", &[]).body, b"outside");
    assert_eq!(app.get("/static/zero", &[]).status, 404);
}

#[test]
fn the_walk_of_old_kernels_stays_inside_too() {
    use crate::pipeline::static_files::walk_beneath;
    use rustix::fs::{Mode, OFlags};
    let outer = directory();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let root = rustix::fs::open(outer.path().join("static"), flags, Mode::empty()).unwrap();
    assert!(walk_beneath(&root, "hello.txt", flags).is_ok());
    assert!(walk_beneath(&root, "sub/index.html", flags).is_ok());
    for path in [
        "link.txt",
        "linkdir/x",
        "linked-index/index.html",
        "hello.txt/x",
        "missing/x",
    ] {
        assert!(walk_beneath(&root, path, flags).is_err(), "{path}");
    }
}

#[test]
fn other_methods_are_405_and_options_lists_them() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    for (method, status) in [
        ("POST", 405),
        ("PUT", 405),
        ("DELETE", 405),
        ("OPTIONS", 204),
    ] {
        let reply = app.send(head(method, "/static/hello.txt", &[]));
        assert_eq!(reply.status, status, "{method}");
        assert_eq!(reply.field("allow").as_deref(), Some("GET, HEAD, OPTIONS"));
    }
    let reply = app.send(head("HEAD", "/static/hello.txt", &[]));
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
    assert_eq!(reply.field("content-length").as_deref(), Some("25"));
}

#[test]
fn a_directory_without_its_slash_is_sent_on_relatively() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    for (target, location) in [
        ("/static/sub", "./sub/"),
        ("/static/sub?a=1", "./sub/?a=1"),
        ("/static", "./static/"),
    ] {
        let reply = app.get(target, &[]);
        assert_eq!(reply.status, 307, "{target}");
        assert_eq!(reply.field("location").as_deref(), Some(location));
    }
    let without = app_with(outer.path(), &json!({"index_file": false}));
    for target in ["/static", "/static/", "/static/sub/", "/static/sub"] {
        assert_eq!(without.get(target, &[]).status, 404, "{target}");
    }
}

#[test]
fn conditions_are_judged_in_their_order() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    let fresh = app.get("/static/digits.txt", &[]);
    let (etag, date) = (
        fresh.field("etag").unwrap(),
        fresh.field("last-modified").unwrap(),
    );
    let (etag, date) = (etag.as_str(), date.as_str());
    let weak = format!("W/{etag}");
    let many = format!("\"x\", {etag}");
    let old = "Thu, 01 Jan 1970 00:00:00 GMT";
    for (fields, status) in [
        (&[("if-none-match", etag)] as &[_], 304),
        (&[("if-none-match", weak.as_str())], 304),
        (&[("if-none-match", many.as_str())], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"x\"")], 200),
        (
            &[("if-none-match", "\"x\""), ("if-modified-since", date)],
            200,
        ),
        (&[("if-modified-since", date)], 304),
        (&[("if-modified-since", old)], 200),
        (&[("if-modified-since", "garbage")], 200),
        (&[("if-match", etag)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", weak.as_str())], 412),
        (&[("if-match", "\"x\"")], 412),
        (&[("if-unmodified-since", date)], 200),
        (&[("if-unmodified-since", old)], 412),
        (&[("if-match", etag), ("if-unmodified-since", old)], 200),
        (&[("range", "bytes=0-1"), ("if-range", etag)], 206),
        (&[("range", "bytes=0-1"), ("if-range", date)], 206),
        (&[("range", "bytes=0-1"), ("if-range", weak.as_str())], 200),
        (&[("range", "bytes=0-1"), ("if-range", "\"x\"")], 200),
        (&[("range", "bytes=0-1"), ("if-range", old)], 200),
        (&[("range", "bytes=0-1"), ("if-none-match", etag)], 304),
    ] {
        let reply = app.get("/static/digits.txt", fields);
        assert_eq!(reply.status, status, "{fields:?}");
        assert_eq!(reply.field("etag").as_deref(), Some(etag));
        if status == 304 || status == 412 {
            assert!(reply.body.is_empty() && reply.field("content-length").is_none());
        }
    }
}

#[test]
fn ranges_are_served_within_reason() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    let overlapping = vec!["0-"; 1000].join(",");
    let seventeen = vec!["0-0"; 17].join(",");
    let digits = format!("0-{}", "9".repeat(5000));
    for (range, status, shown, body) in [
        ("0-3", 206, Some("bytes 0-3/10"), "0123"),
        ("7-", 206, Some("bytes 7-9/10"), "789"),
        ("-2", 206, Some("bytes 8-9/10"), "89"),
        ("-100", 206, Some("bytes 0-9/10"), "0123456789"),
        ("5-100", 206, Some("bytes 5-9/10"), "56789"),
        ("10-", 416, Some("bytes */10"), ""),
        ("-0", 416, Some("bytes */10"), ""),
        ("3-1", 200, None, "0123456789"),
        ("\u{660}-\u{661}", 200, None, "0123456789"),
        ("a-b", 200, None, "0123456789"),
        (overlapping.as_str(), 200, None, "0123456789"),
        (seventeen.as_str(), 200, None, "0123456789"),
    ] {
        let reply = app.get(
            "/static/digits.txt",
            &[("range", &format!("bytes={range}"))],
        );
        assert_eq!(reply.status, status, "{range}");
        assert_eq!(reply.field("content-range").as_deref(), shown, "{range}");
        assert_eq!(reply.body, body.as_bytes(), "{range}");
        if status != 416 {
            assert_eq!(
                reply.field("content-length"),
                Some(body.len().to_string()),
                "{range}"
            );
        }
    }
    let huge = app.get(
        "/static/digits.txt",
        &[("range", &format!("bytes={digits}"))],
    );
    assert!(huge.status == 200 || huge.status == 206);
    assert_eq!(huge.body.len(), 10);
}

#[test]
fn several_ranges_are_the_parts_of_one_body() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    let reply = app.get("/static/digits.txt", &[("range", "bytes=0-1, -2")]);
    assert_eq!(reply.status, 206);
    let media = reply.field("content-type").unwrap();
    let boundary = media
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let expected = format!(
        "\r\n--{boundary}\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-1/10\r\n\r\n01\
         \r\n--{boundary}\r\ncontent-type: text/plain\r\ncontent-range: bytes 8-9/10\r\n\r\n89\
         \r\n--{boundary}--\r\n"
    );
    assert_eq!(String::from_utf8(reply.body.clone()).unwrap(), expected);
    assert_eq!(
        reply.field("content-length"),
        Some(expected.len().to_string())
    );
}

#[test]
fn a_long_file_is_read_in_pieces_and_comes_whole() {
    let outer = directory();
    let long: Vec<u8> = (0..1_000_003_u32)
        .map(|index| index.to_le_bytes()[0])
        .collect();
    std::fs::write(outer.path().join("static/long.bin"), &long).unwrap();
    let app = app_with(outer.path(), &json!({}));
    assert!(app.get("/static/long.bin", &[]).body == long);
    let part = app.get("/static/long.bin", &[("range", "bytes=100000-900000")]);
    assert!(part.body == long[100_000..=900_000]);
}

#[test]
fn a_precompressed_neighbour_stands_in_for_the_file() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    let plain = app.get("/static/app.js", &[]).field("etag");
    for (codings, coding, body) in [
        ("br, gzip", Some("br"), "brotli script"),
        ("gzip", Some("gzip"), "gzip script"),
        ("zstd, gzip;q=0.1", Some("gzip"), "gzip script"),
        ("zstd", None, "plain script"),
        ("br;q=0", None, "plain script"),
    ] {
        let reply = app.get("/static/app.js", &[("accept-encoding", codings)]);
        assert_eq!(
            reply.field("content-encoding").as_deref(),
            coding,
            "{codings}"
        );
        assert_eq!(reply.body, body.as_bytes(), "{codings}");
        assert_eq!(
            reply.field("content-type").as_deref(),
            Some("text/javascript")
        );
        assert_eq!(reply.field("vary").as_deref(), Some("accept-encoding"));
        assert_eq!(reply.field("etag") == plain, coding.is_none(), "{codings}");
    }
    let off = app_with(outer.path(), &json!({"precompressed": false}));
    let reply = off.get("/static/app.js", &[("accept-encoding", "br")]);
    assert_eq!(
        (reply.field("content-encoding"), reply.field("vary")),
        (None, None)
    );
}

#[test]
fn a_page_request_for_nothing_gets_the_single_page() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({"spa_fallback": true}));
    let page = [("accept", "text/html,application/xhtml+xml")];
    assert_eq!(
        app.get("/static/some/view", &page).body,
        b"<h1>Welcome</h1>"
    );
    assert_eq!(
        app.get("/static/missing.js", &[("accept", "*/*")]).status,
        404
    );
    assert_eq!(
        app.get("/static/hello.txt", &page).body,
        b"Hello from static storage"
    );
}

#[test]
fn a_route_beats_a_directory_and_a_longer_prefix_a_shorter_one() {
    let outer = directory();
    let path = |name: &str| outer.path().join(name);
    let mut app = App::new(&json!({"static_files": [
        {"directory": path("static"), "route_prefix": "/"},
        {"directory": path("static2"), "route_prefix": "/two"},
    ]}));
    app.pipeline
        .add_mount("/mount", &RouteOptions::default(), "mount")
        .unwrap();
    assert_eq!(app.get("/items", &[]).reached, Some("/items"));
    assert_eq!(
        app.get("/hello.txt", &[]).body,
        b"Hello from static storage"
    );
    assert_eq!(app.get("/two/x", &[]).body, b"beside");
    assert_eq!(app.get("/mount/x", &[]).reached, Some("mount"));
}

#[test]
fn a_public_directory_needs_no_key() {
    let outer = directory();
    for (public, status) in [(true, 200), (false, 401)] {
        let app = App::new(&json!({
            "static_files": [{
                "directory": outer.path().join("static"), "route_prefix": "/s", "public": public,
            }],
            "api_key_auth": {"keys": ["right"]},
        }));
        assert_eq!(app.get("/s/hello.txt", &[]).status, status);
    }
}

#[test]
fn a_file_in_the_page_cache_is_answered_without_waiting() {
    let outer = directory();
    let app = app_with(outer.path(), &json!({}));
    let mut head = head("GET", "/static/hello.txt", &[]);
    let Decision::SendFile(file) = app.pipeline.begin(&mut head).1 else {
        panic!("no file")
    };
    assert_eq!(file.open().status(), 200);
    // Not every file system can say so; where it can, the answer is the same.
    if let Some(response) = file.open_cached() {
        assert_eq!(response.status(), 200);
        assert_eq!(collect(response.into_body()), b"Hello from static storage");
    }
}

#[test]
fn a_directory_that_cannot_be_served_is_an_error() {
    let outer = directory();
    let (good, missing) = (outer.path().join("static"), outer.path().join("nowhere"));
    for (files, named) in [
        (
            json!([{"directory": missing, "route_prefix": "/s"}]),
            "static_files[0].directory",
        ),
        (
            json!([{"directory": good.join("hello.txt"), "route_prefix": "/s"}]),
            "directory",
        ),
        (
            json!([{"directory": good, "route_prefix": "s"}]),
            "static_files[0].route_prefix",
        ),
        (
            json!([{"directory": good, "route_prefix": "/{x}"}]),
            "static_files[0].route_prefix",
        ),
        (
            json!([{"directory": good, "route_prefix": "/s"}, {"directory": good, "route_prefix": "/s/"}]),
            "static_files[1].route_prefix",
        ),
        (
            json!([{"directory": good, "route_prefix": "/s", "cache_control": "a\nb"}]),
            "static_files[0].cache_control",
        ),
    ] {
        let error = App::try_new(&json!({"static_files": files}))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(named), "{error}");
    }
}
