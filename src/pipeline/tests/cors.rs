//! Cross-origin requests.

use super::*;

const ORIGIN: &str = "https://example.com";

fn app(extra: &Value) -> App {
    let mut cors = json!({
        "allow_origins": [ORIGIN, "http://localhost:3000"],
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["Content-Type"],
        "max_age": 3600,
    });
    for (name, value) in extra.as_object().unwrap() {
        cors[name] = value.clone();
    }
    App::new(&json!({"cors": cors}))
}

#[test]
fn an_origin_is_compared_byte_by_byte() {
    let app = app(&json!({}));
    let long = "https://".to_owned() + &"a".repeat(10_000);
    for (origin, allowed) in [
        (ORIGIN, true),
        ("http://localhost:3000", true),
        ("https://example.com.evil", false),
        ("https://exampleXcom", false),
        ("https://evil-example.com", false),
        ("https://EXAMPLE.com", false),
        ("https://example.com:443", false),
        ("http://example.com", false),
        ("https://example.com/", false),
        ("null", false),
        (long.as_str(), false),
    ] {
        let reply = app.get("/items", &[("origin", origin)]);
        assert_eq!(reply.reached, Some("/items"), "{origin}");
        let expected = allowed.then(|| origin.to_owned());
        assert_eq!(
            reply.field("access-control-allow-origin"),
            expected,
            "{origin}"
        );
        assert_eq!(reply.field("vary").as_deref(), Some("Origin"), "{origin}");
    }
    let two = app.get("/items", &[("origin", ORIGIN), ("origin", ORIGIN)]);
    assert_eq!(two.field("access-control-allow-origin"), None);
    assert_eq!(
        app.get("/items", &[]).field("vary").as_deref(),
        Some("Origin")
    );
}

#[test]
fn the_null_origin_counts_when_it_is_listed() {
    let app = app(&json!({"allow_origins": ["null"]}));
    let reply = app.get("/items", &[("origin", "null")]);
    assert_eq!(
        reply.field("access-control-allow-origin").as_deref(),
        Some("null")
    );
}

#[test]
fn a_pattern_must_match_the_whole_origin() {
    let app = app(&json!({"allow_origin_regex": r"https://[a-z]+\.example\.org"}));
    for (origin, allowed) in [
        ("https://app.example.org", true),
        ("https://app.example.org.evil", false),
        ("https://appXexample.org", false),
        ("xhttps://app.example.org", false),
    ] {
        let reply = app.get("/items", &[("origin", origin)]);
        let found = reply.field("access-control-allow-origin").is_some();
        assert_eq!(found, allowed, "{origin}");
    }
}

#[test]
fn a_preflight_is_answered_by_the_policy_alone() {
    let app = app(&json!({}));
    let many = vec!["content-type"; 101].join(",");
    for (target, method, headers, origin, status) in [
        ("/items", "POST", "Content-Type", ORIGIN, 204),
        ("/items", "POST", "content-type, accept", ORIGIN, 204),
        ("/items", "GET", "", ORIGIN, 204),
        ("/nothing", "POST", "", ORIGIN, 204),
        ("/items", "DELETE", "Content-Type", ORIGIN, 403),
        ("/items", "post", "", ORIGIN, 403),
        ("/items", "POST", "X-Custom-Header", ORIGIN, 403),
        ("/items", "POST", "bad name", ORIGIN, 403),
        ("/items", "POST", many.as_str(), ORIGIN, 403),
        ("/items", "POST", "", "https://evil.example", 403),
        ("/items", "POST", "", "null", 403),
    ] {
        let fields = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ];
        let reply = app.send(head("OPTIONS", target, &fields));
        assert_eq!(reply.status, status, "{fields:?}");
        assert_eq!(reply.reached, None);
        assert_eq!(reply.field("vary").as_deref(), Some("Origin"));
        let methods = (status == 204).then(|| "GET, POST".to_owned());
        assert_eq!(reply.field("access-control-allow-methods"), methods);
        let headers = (status == 204).then(|| "Content-Type".to_owned());
        assert_eq!(reply.field("access-control-allow-headers"), headers);
        let age = (status == 204).then(|| "3600".to_owned());
        assert_eq!(reply.field("access-control-max-age"), age);
        assert_eq!(reply.field("access-control-allow-private-network"), None);
    }
}

#[test]
fn options_without_a_requested_method_is_no_preflight() {
    let reply = app(&json!({})).send(head("OPTIONS", "/items", &[("origin", ORIGIN)]));
    assert_eq!(
        (reply.status.as_u16(), reply.field("allow").is_some()),
        (204, true)
    );
}

#[test]
fn the_star_allows_everybody_but_never_with_credentials() {
    let app = app(&json!({"allow_origins": ["*"], "allow_headers": ["*"]}));
    let reply = app.get("/items", &[("origin", "https://anybody.example")]);
    assert_eq!(
        reply.field("access-control-allow-origin").as_deref(),
        Some("*")
    );
    assert_eq!(reply.field("vary"), None);
    let fields = [
        ("origin", "https://anybody.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-whatever"),
    ];
    let preflight = app.send(head("OPTIONS", "/items", &fields));
    let allowed = preflight.field("access-control-allow-headers");
    assert_eq!(allowed.as_deref(), Some("*, Authorization"));
    let config = json!({"cors": {"allow_origins": ["*"], "allow_credentials": true}});
    let error = App::try_new(&config).err().unwrap();
    assert!(
        error.to_string().starts_with("cors.allow_origins"),
        "{error}"
    );
}

#[test]
fn any_field_with_credentials_is_allowed_by_its_name() {
    let app =
        app(&json!({"allow_origins": [ORIGIN], "allow_headers": ["*"], "allow_credentials": true}));
    let fields = [
        ("origin", ORIGIN),
        ("access-control-request-method", "GET"),
        (
            "access-control-request-headers",
            "x-whatever, authorization",
        ),
    ];
    let preflight = app.send(head("OPTIONS", "/items", &fields));
    let allowed = preflight.field("access-control-allow-headers");
    assert_eq!(allowed.as_deref(), Some("x-whatever, authorization"));
}

#[test]
fn credentials_and_exposed_fields_are_said_to_allowed_origins_only() {
    let app = app(&json!({"allow_credentials": true, "expose_headers": ["X-Total"]}));
    let reply = app.get("/items", &[("origin", ORIGIN)]);
    assert_eq!(
        reply.field("access-control-allow-credentials").as_deref(),
        Some("true")
    );
    assert_eq!(
        reply.field("access-control-expose-headers").as_deref(),
        Some("X-Total")
    );
    let foreign = app.get("/items", &[("origin", "https://evil.example")]);
    assert_eq!(foreign.field("access-control-allow-credentials"), None);
    assert_eq!(foreign.field("access-control-expose-headers"), None);
}

#[test]
fn a_mistake_in_the_configuration_is_an_error() {
    for cors in [
        json!({"allow_origins": ["example.com"]}),
        json!({"allow_origins": ["https://example.com/"]}),
        json!({"allow_origins": ["https://*.example.com"]}),
        json!({"allow_origins": ["https://Example.com"]}),
        json!({"allow_origin_regex": "("}),
        json!({"allow_methods": ["GET POST"]}),
        json!({"allow_headers": ["a b"]}),
        json!({"expose_headers": ["a\nb"]}),
        json!({"max_age": 86_401}),
    ] {
        let error = App::try_new(&json!({"cors": cors})).err().unwrap();
        assert!(error.to_string().starts_with("cors."), "{error}");
    }
}
