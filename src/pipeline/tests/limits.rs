//! Rate limits and body limits.

use super::*;

fn app(rate_limit: &Value) -> App {
    App::new(&json!({"rate_limit": rate_limit}))
}

fn passed(app: &App, peer: &str, count: usize) -> usize {
    (0..count)
        .filter(|_| app.send(head_from(peer, "GET", "/items", &[])).status == 200)
        .count()
}

#[test]
fn a_burst_passes_at_once_and_then_the_rate_a_second() {
    let app = app(&json!({"per_second": 100, "burst": 200}));
    assert_eq!(passed(&app, "192.0.2.1:1", 300), 200);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(passed(&app, "192.0.2.1:1", 300), 100);
    app.clock.advance(Duration::from_secs(3600));
    assert_eq!(passed(&app, "192.0.2.1:1", 300), 200);
}

#[test]
fn a_step_of_the_wall_clock_locks_nobody_out_and_lets_nobody_through() {
    let app = app(&json!({"per_second": 1, "burst": 2}));
    assert_eq!(passed(&app, "192.0.2.1:1", 5), 2);
    for step in [-3600, 7200] {
        app.clock.step_unix(step);
        assert_eq!(passed(&app, "192.0.2.1:1", 5), 0, "a step of {step} s");
    }
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(passed(&app, "192.0.2.1:1", 5), 1);
}

#[test]
fn an_address_stands_for_its_client() {
    let app = app(&json!({"per_second": 0.001, "burst": 1}));
    for (peer, fresh) in [
        ("192.0.2.1:1", true),
        ("192.0.2.1:2", false),
        ("[::ffff:192.0.2.1]:3", false),
        ("192.0.2.2:1", true),
        ("[2001:db8:0:1::1]:1", true),
        ("[2001:db8:0:1:ffff::2]:1", false),
        ("[2001:db8:0:2::1]:1", true),
        ("unix", true),
        ("unix", false),
    ] {
        assert_eq!(passed(&app, peer, 1) == 1, fresh, "{peer}");
    }
}

#[test]
fn a_global_limit_counts_all_clients_together() {
    let app = app(&json!({"per_second": 1, "burst": 2, "ip_based": false}));
    assert_eq!(passed(&app, "192.0.2.1:1", 1), 1);
    assert_eq!(passed(&app, "192.0.2.2:1", 5), 1);
}

#[test]
fn a_refused_request_learns_when_to_come_back() {
    let app = app(&json!({"per_second": 0.5, "burst": 2}));
    for (status, remaining, reset) in [(200, "1", "2"), (200, "0", "4"), (429, "0", "4")] {
        let reply = app.get("/items", &[]);
        assert_eq!(reply.status, status);
        assert_eq!(reply.field("ratelimit-limit").as_deref(), Some("2"));
        assert_eq!(
            reply.field("ratelimit-remaining").as_deref(),
            Some(remaining)
        );
        assert_eq!(reply.field("ratelimit-reset").as_deref(), Some(reset));
        if status == 429 {
            assert_eq!(reply.field("retry-after").as_deref(), Some("2"));
            assert_eq!(reply.words().0, "too-many-requests");
            assert!(reply.body.len() < 300);
        }
    }
    app.clock.advance(Duration::from_secs(2));
    assert_eq!(
        app.get("/items", &[]).status,
        200,
        "the wait that was named is enough"
    );
}

#[test]
fn a_route_may_have_a_limit_of_its_own() {
    let mut app = app(&json!({"per_second": 1, "burst": 1}));
    app.add(
        "GET",
        "/own",
        &json!({"rate_limit": {"per_second": 1, "burst": 3}}),
    );
    let own = (0..5)
        .filter(|_| app.get("/own", &[]).status == 200)
        .count();
    assert_eq!(own, 3);
    assert_eq!(
        app.get("/items", &[]).status,
        200,
        "other counts are untouched"
    );
}

#[test]
fn a_limit_may_count_api_keys() {
    let app = App::new(&json!({
        "rate_limit": {"per_second": 0.001, "burst": 1, "by": "api_key"},
        "api_key_auth": {"keys": ["one", "two"]},
    }));
    for (key, status) in [("one", 200), ("one", 429), ("two", 200), ("bad", 401)] {
        assert_eq!(
            app.get("/items", &[("x-api-key", key)]).status,
            status,
            "{key}"
        );
    }
}

#[test]
fn limits_without_sense_are_errors() {
    for (per_second, burst) in [
        ("0", "1"),
        ("-1", "1"),
        ("1", "0"),
        ("1", "-1"),
        ("1", "9223372036854775808"),
        ("9223372036854775808", "1"),
        ("1", "1.5"),
        ("\"1\"", "1"),
    ] {
        let config =
            format!(r#"{{"rate_limit": {{"per_second": {per_second}, "burst": {burst}}}}}"#);
        let config = serde_json::from_str(&config).unwrap();
        let error = App::try_new(&config).err().unwrap();
        assert!(error.to_string().starts_with("rate_limit."), "{error}");
    }
    for by in ["nobody", "claim:", "claim:sub", "api_key"] {
        let limit = json!({"per_second": 1, "burst": 1, "by": by});
        assert!(App::try_new(&json!({"rate_limit": limit})).is_err(), "{by}");
    }
}

#[test]
fn a_declared_body_over_the_limit_is_413_before_it_is_read() {
    let mut app = App::new(&json!({"max_body_size": 64}));
    app.add("POST", "/large", &json!({"max_body_size": 1000}));
    app.add("POST", "/any", &json!({"max_body_size": null}));
    for (target, length, status) in [
        ("/items", "64", 200),
        ("/items", "65", 413),
        ("/items", "18446744073709551616", 413),
        ("/large", "1000", 200),
        ("/large", "1001", 413),
        ("/any", "1000000000000", 200),
    ] {
        let reply = app.send(head("POST", target, &[("content-length", length)]));
        assert_eq!(reply.status, status, "{target} {length}");
        if status == 413 {
            assert_eq!(reply.words().0, "payload-too-large");
        }
    }
    let unlimited = App::new(&json!({"max_body_size": null}));
    let reply = unlimited.send(head(
        "POST",
        "/items",
        &[("content-length", "1000000000000")],
    ));
    assert_eq!(reply.status, 200);
}
