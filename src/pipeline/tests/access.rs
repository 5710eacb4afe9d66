//! API keys, trusted proxies, allowed hosts.

use super::*;

#[test]
fn an_api_key_counts_once_and_exactly() {
    // SHA-256 of "stored".
    let hashed = "87b04e58961f9a99d853d4046a0b5b793e7c3e4bbd21f5aca8fb17c20cdb1d8b";
    let app = App::new(&json!({
        "api_key_auth": {"keys": ["sk_test_1", "sk_test_2", format!("sha256:{hashed}")]},
    }));
    let missing = (
        "Missing API key",
        "Expected 'X-API-Key' header with valid API key",
    );
    let invalid = ("Invalid API key", "The provided API key is not valid");
    for (target, fields, expected) in [
        ("/items", &[("x-api-key", "sk_test_1")] as &[_], None),
        ("/items", &[("X-API-Key", "sk_test_2")], None),
        ("/items", &[("x-api-key", "stored")], None),
        ("/items", &[], Some(missing)),
        ("/items?api_key=sk_test_1", &[], Some(missing)),
        ("/items", &[("x-api-key", "sk_test_3")], Some(invalid)),
        ("/items", &[("x-api-key", "sk_test_")], Some(invalid)),
        ("/items", &[("x-api-key", "")], Some(invalid)),
        ("/items", &[("x-api-key", hashed)], Some(invalid)),
        (
            "/items",
            &[("x-api-key", "sk_test_1, sk_test_2")],
            Some(invalid),
        ),
        (
            "/items",
            &[("x-api-key", "sk_test_1"), ("x-api-key", "bad")],
            Some(invalid),
        ),
        ("/items", &[("x-api-key", "sk test 1")], Some(invalid)),
        ("/items", &[("x-api-key", "sk_test_1\u{e9}")], Some(invalid)),
    ] {
        let reply = app.get(target, fields);
        let Some((title, detail)) = expected else {
            assert_eq!(reply.reached, Some("/items"), "{fields:?}");
            continue;
        };
        assert_eq!(reply.status, 401, "{fields:?}");
        let words = reply.words();
        assert_eq!(
            (words.0.as_str(), words.1.as_str(), words.2.as_str()),
            ("unauthorized", title, detail)
        );
        assert!(reply.field("www-authenticate").is_some());
    }
}

#[test]
fn a_key_in_the_query_counts_when_it_is_asked_for() {
    let app = App::new(&json!({
        "api_key_auth": {"keys": ["a b"], "query_param": "api_key", "header_name": "X-Key"},
    }));
    assert_eq!(app.get("/items?api_key=a%20b", &[]).reached, Some("/items"));
    assert_eq!(
        app.get("/items?api_key=other", &[]).words().1,
        "Invalid API key"
    );
    let missing = app.get("/items", &[]).words();
    assert_eq!(
        missing.2,
        "Expected 'X-Key' header or 'api_key' query parameter with valid API key"
    );
    let both = app.get("/items?api_key=a%20b", &[("x-key", "wrong")]);
    assert_eq!(both.status, 401, "the field beats the query");
    let twice = app.get("/items?api_key=a%20b&api_key=a%20b", &[]);
    assert_eq!(twice.status, 401);
}

#[test]
fn a_configuration_without_a_usable_key_is_an_error() {
    for config in [
        json!({"keys": []}),
        json!({"keys": [""]}),
        json!({"keys": ["good", " "]}),
        json!({"keys": ["sha256:"]}),
        json!({"keys": ["sha256:+f"]}),
        json!({"keys": ["good"], "header_name": "bad name"}),
        json!({"keys": ["good"], "query_param": ""}),
    ] {
        let error = App::try_new(&json!({"api_key_auth": config}))
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(
            text.starts_with("api_key_auth.") && !text.contains("good"),
            "{text}"
        );
    }
}

#[test]
fn only_a_trusted_proxy_is_believed() {
    let trusting = json!(["10.0.0.0/8", "2001:db8::/32"]);
    let app = App::new(&json!({"trusted_proxies": trusting}));
    let nobody = App::new(&json!({}));
    for (peer, fields, client) in [
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "203.0.113.9")] as &[_],
            "203.0.113.9:0",
        ),
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.2")],
            "203.0.113.9:0",
        ),
        (
            "10.0.0.1:1",
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-for", "203.0.113.9"),
            ],
            "203.0.113.9:0",
        ),
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")],
            "10.0.0.3:0",
        ),
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "203.0.113.9:4711")],
            "203.0.113.9:4711",
        ),
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "[2001:dead::1]:443")],
            "[2001:dead::1]:443",
        ),
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "[2001:dead::1]")],
            "[2001:dead::1]:0",
        ),
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "garbage")],
            "10.0.0.1:1",
        ),
        (
            "10.0.0.1:1",
            &[("x-forwarded-for", "203.0.113.9, garbage")],
            "10.0.0.1:1",
        ),
        ("10.0.0.1:1", &[("x-forwarded-for", "")], "10.0.0.1:1"),
        ("10.0.0.1:1", &[], "10.0.0.1:1"),
        (
            "10.0.0.1:1",
            &[("forwarded", "for=203.0.113.9;proto=https")],
            "203.0.113.9:0",
        ),
        (
            "10.0.0.1:1",
            &[("forwarded", "for=\"[2001:dead::1]:80\"")],
            "[2001:dead::1]:80",
        ),
        ("10.0.0.1:1", &[("forwarded", "for=unknown")], "10.0.0.1:1"),
        ("10.0.0.1:1", &[("forwarded", "for=_hidden")], "10.0.0.1:1"),
        (
            "[::ffff:10.0.0.1]:1",
            &[("x-forwarded-for", "203.0.113.9")],
            "203.0.113.9:0",
        ),
        (
            "[2001:db8::5]:1",
            &[("x-forwarded-for", "203.0.113.9")],
            "203.0.113.9:0",
        ),
        (
            "11.0.0.1:1",
            &[("x-forwarded-for", "203.0.113.9")],
            "11.0.0.1:1",
        ),
        (
            "11.0.0.1:1",
            &[("forwarded", "for=203.0.113.9")],
            "11.0.0.1:1",
        ),
    ] {
        let mut believed = head_from(peer, "GET", "/items", fields);
        let mut ignored = believed.clone();
        app.pipeline.begin(&mut believed);
        let expected = Endpoint::Tcp(client.parse().unwrap());
        assert_eq!(believed.connection.peer, expected, "{peer} {fields:?}");
        nobody.pipeline.begin(&mut ignored);
        assert_eq!(
            ignored.connection.peer,
            Endpoint::Tcp(peer.parse().unwrap())
        );
    }
}

#[test]
fn a_trusted_proxy_says_scheme_and_host() {
    let app = App::new(&json!({"trusted_proxies": ["10.0.0.1"]}));
    let fields = [
        ("host", "inner"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer.example"),
    ];
    for (peer, scheme, host) in [
        ("10.0.0.1:1", Scheme::Https, "outer.example"),
        ("10.0.0.2:1", Scheme::Http, "inner"),
    ] {
        let mut head = head_from(peer, "GET", "/items", &fields);
        app.pipeline.begin(&mut head);
        assert_eq!(head.connection.scheme, scheme, "{peer}");
        assert_eq!(head.headers["host"], host, "{peer}");
    }
    let bad = [("host", "inner"), ("x-forwarded-host", "evil/path\"")];
    let mut head = head_from("10.0.0.1:1", "GET", "/items", &bad);
    app.pipeline.begin(&mut head);
    assert_eq!(head.headers["host"], "inner");
}

#[test]
fn ten_thousand_hops_do_not_hide_the_nearest_one() {
    let app = App::new(&json!({"trusted_proxies": ["10.0.0.1"]}));
    let hops = "6.6.6.6, ".repeat(10_000) + "203.0.113.9";
    let mut head = head_from("10.0.0.1:1", "GET", "/items", &[("x-forwarded-for", &hops)]);
    app.pipeline.begin(&mut head);
    assert_eq!(
        head.connection.peer,
        Endpoint::Tcp("203.0.113.9:0".parse().unwrap())
    );
}

#[test]
fn a_unix_socket_is_trusted_only_when_it_is_configured() {
    for (trusted, believed) in [("unix", true), ("10.0.0.1", false), ("*", true)] {
        let app = App::new(&json!({"trusted_proxies": [trusted]}));
        let fields = [("x-forwarded-for", "203.0.113.9")];
        let mut head = head_from("unix", "GET", "/items", &fields);
        app.pipeline.begin(&mut head);
        assert_eq!(
            head.connection.peer != Endpoint::Unix(None),
            believed,
            "{trusted}"
        );
    }
}

#[test]
fn a_proxy_that_is_no_address_is_an_error() {
    for entry in ["example.com", "10.0.0.0/33", ""] {
        let error = App::try_new(&json!({"trusted_proxies": [entry]}))
            .err()
            .unwrap();
        assert!(
            error.to_string().starts_with("trusted_proxies is"),
            "{error}"
        );
    }
}

#[test]
fn hosts_are_compared_literally() {
    let app = App::new(&json!({"allowed_hosts": ["example.com", "*.example.org", "[::1]"]}));
    for (host, allowed) in [
        ("example.com", true),
        ("EXAMPLE.com", true),
        ("example.com:8000", true),
        ("example.com.", true),
        ("a.example.org", true),
        ("[::1]:80", true),
        ("exampleXcom", false),
        ("example.com.evil", false),
        ("evil-example.com", false),
        ("example.org", false),
        ("evilexample.org", false),
        ("example.com:80:80", false),
        ("", false),
    ] {
        let reply = app.get("/items", &[("host", host)]);
        assert_eq!(reply.status == 200, allowed, "{host}");
    }
    assert_eq!(app.get("/items", &[]).status, 400);
    for entry in ["https://example.com", "a*b", "example.com:80", "*."] {
        assert!(
            App::try_new(&json!({"allowed_hosts": [entry]})).is_err(),
            "{entry}"
        );
    }
}
