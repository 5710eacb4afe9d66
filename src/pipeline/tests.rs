//! Claims about the pipeline as a whole, with every policy reached through `begin` and `finish`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::clock::tests::TestClock;
use super::*;
use crate::message::body::ResponseBody;
use crate::message::head::{Connection, Endpoint, Head, Memo, Scheme};

mod access;
mod cors;
mod jwt;
mod limits;
mod responses;
mod statics;

/// A request's head from 192.0.2.1.
fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
    head_from("192.0.2.1:40000", method, target, fields)
}

fn head_from(peer: &str, method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request = request.header(*name, value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let peer = peer.parse().map_or(Endpoint::Unix(None), Endpoint::Tcp);
    let connection = Connection {
        peer,
        local: Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 8000))),
        scheme: Scheme::Http,
        tls: None,
        memo: Memo::default(),
    };
    Head::new(parts, Arc::new(connection))
}

/// An application with the routes that the tests ask for, and the clock that it reads.
struct App {
    pipeline: Pipeline<&'static str>,
    clock: TestClock,
}

const NOW: u64 = 1_700_000_000;

impl App {
    fn new(config: &Value) -> Self {
        Self::try_new(config).unwrap()
    }

    fn try_new(config: &Value) -> Result<Self, ConfigError> {
        let config = PolicyConfig::from_json(config.to_string().as_bytes())?;
        let clock = TestClock::at(NOW);
        let around = Surroundings {
            clock: Box::new(clock.clone()),
            counts: None,
        };
        let pipeline = Pipeline::within(&config, around)?;
        let mut app = Self { pipeline, clock };
        app.add("GET", "/items", &json!({}));
        app.add("POST", "/items", &json!({}));
        app.add("GET", "/items/{id}", &json!({}));
        app.add("GET", "/open", &json!({"require_auth": false}));
        Ok(app)
    }

    fn add(&mut self, method: &str, template: &'static str, options: &Value) {
        self.try_add(method, template, options).unwrap();
    }

    fn try_add(
        &mut self,
        method: &str,
        template: &'static str,
        options: &Value,
    ) -> Result<RouteId, RegisterError> {
        let options = RouteOptions::from_json(options.to_string().as_bytes())?;
        let method = method.parse().unwrap();
        self.pipeline
            .add_route(&[method], template, &options, template)
    }

    /// Sends a request through; the endpoint answers with its template as text.
    fn send(&self, head: Head) -> Reply {
        self.send_to(head, |template| {
            let mut response = Response::new(ResponseBody::from_bytes(template.into()));
            let fields = response.headers_mut();
            fields.insert("content-type", HeaderValue::from_static("text/plain"));
            response
        })
    }

    fn send_to(
        &self,
        mut head: Head,
        endpoint: impl FnOnce(&'static str) -> Response<ResponseBody>,
    ) -> Reply {
        let (ticket, decision) = self.pipeline.begin(&mut head);
        let (response, reached) = match decision {
            Decision::Respond(response) => (response, None),
            Decision::SendFile(file) => (file.open().map(ResponseBody::from), Some("file")),
            Decision::Handle { route, .. } => (endpoint(route), Some(*route)),
            Decision::Mounted { mount, .. } => (endpoint(mount), Some(*mount)),
            Decision::Hooks => panic!("no hooks were announced"),
        };
        let (mut parts, body) = response.into_parts();
        let body = self.pipeline.finish(&ticket, &mut parts, body);
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: collect(body),
            reached,
            claims: ticket.claims().map(|claims| Value::clone(claims)),
        }
    }

    fn get(&self, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(head("GET", target, fields))
    }
}

/// What came of a request.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// The endpoint that was called; `None` when a policy answered.
    reached: Option<&'static str>,
    claims: Option<Value>,
}

impl Reply {
    fn field(&self, name: &str) -> Option<String> {
        let lines: Vec<&str> = self
            .headers
            .get_all(name)
            .iter()
            .map(|line| line.to_str().unwrap())
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    fn problem(&self) -> Value {
        assert_eq!(
            self.field("content-type").as_deref(),
            Some("application/problem+json")
        );
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The last part of the problem's type, its title and its detail.
    fn words(&self) -> (String, String, String) {
        let problem = self.problem();
        assert_eq!(problem["status"], self.status.as_u16());
        let word = |name: &str| problem[name].as_str().unwrap().to_owned();
        let slug = word("type").rsplit('/').next().unwrap().to_owned();
        (slug, word("title"), word("detail"))
    }
}

fn collect(body: ResponseBody) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let body = runtime.block_on(body.collect()).unwrap();
    body.to_bytes().to_vec()
}

#[test]
fn a_route_is_handled_with_its_parameters_and_limits() {
    let app = App::new(&json!({"max_body_size": 7, "request_timeout": 2}));
    let mut head = head("GET", "/items/a%20b?x=1", &[]);
    let (ticket, decision) = app.pipeline.begin(&mut head);
    let Decision::Handle {
        route,
        id,
        params,
        limits,
    } = decision
    else {
        panic!("{decision:?}")
    };
    assert_eq!((*route, ticket.route()), ("/items/{id}", Some(id)));
    assert_eq!(&head.raw_path()[params.get(0).unwrap()], "a%20b");
    let expected = Limits {
        max_body_bytes: Some(7),
        request_timeout: Some(Duration::from_secs(2)),
    };
    assert_eq!(limits, expected);
}

#[test]
fn errors_are_a_detail_alone_when_the_configuration_says_so() {
    let app = App::new(&json!({"error_format": "detail"}));
    let reply = app.get("/nothing", &[]);
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(
        reply.field("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(reply.body, br#"{"detail":"Not Found"}"#);
    assert_eq!(app.get("/items", &[]).body, b"/items");
}

#[test]
fn a_request_without_tls_is_sent_to_the_same_address_with_it() {
    let app = App::new(&json!({"https_redirect": true}));
    for (host, location) in [
        ("example.com", "https://example.com/items?x=1"),
        ("example.com:80", "https://example.com/items?x=1"),
        ("example.com:8000", "https://example.com:8000/items?x=1"),
    ] {
        let reply = app.get("/items?x=1", &[("host", host)]);
        assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(reply.field("location").as_deref(), Some(location));
        assert_eq!(reply.reached, None);
    }
}

#[test]
fn what_no_route_takes_is_answered_with_a_problem() {
    let app = App::new(&json!({}));
    for (method, target, status, slug, allow) in [
        ("GET", "/nothing", 404, "not-found", None),
        (
            "PUT",
            "/items",
            405,
            "method-not-allowed",
            Some("GET, HEAD, POST, OPTIONS"),
        ),
        (
            "get",
            "/items",
            405,
            "method-not-allowed",
            Some("GET, HEAD, POST, OPTIONS"),
        ),
        ("GET", "/items/%00", 400, "bad-request", None),
        ("GET", "/items/%ff", 400, "bad-request", None),
        ("GET", "/items/%c0%ae", 400, "bad-request", None),
        ("GET", "/items/%zz", 400, "bad-request", None),
        ("GET", "/nothing/%ff", 400, "bad-request", None),
        ("GET", "/items?q=%ff", 400, "bad-request", None),
    ] {
        let reply = app.send(head(method, target, &[]));
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(reply.words().0, slug, "{method} {target}");
        assert_eq!(reply.field("allow").as_deref(), allow, "{method} {target}");
        assert_eq!(reply.reached, None);
    }
}

#[test]
fn options_is_answered_with_the_methods_of_the_path() {
    let reply = App::new(&json!({})).send(head("OPTIONS", "/items", &[]));
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
    assert_eq!(
        reply.field("allow").as_deref(),
        Some("GET, HEAD, POST, OPTIONS")
    );
}

#[test]
fn head_reaches_the_route_of_get() {
    let reply = App::new(&json!({})).send(head("HEAD", "/items", &[]));
    assert_eq!(reply.reached, Some("/items"));
}

#[test]
fn a_mount_takes_what_no_route_takes() {
    let mut app = App::new(&json!({}));
    let options = RouteOptions::default();
    app.pipeline.add_mount("/sub", &options, "mount").unwrap();
    assert_eq!(app.get("/sub/deep/path", &[]).reached, Some("mount"));
    assert_eq!(app.get("/sub/%ff", &[]).reached, Some("mount"));
    assert_eq!(app.get("/sub/%00", &[]).status, 400);
    assert_eq!(app.get("/subway", &[]).status, 404);
}

#[test]
fn hooks_come_before_the_route_and_may_change_it() {
    let mut app = App::new(&json!({"cors": {"allow_origins": ["https://a.example"]}}));
    app.pipeline.set_request_hooks(true);
    let mut head = head("GET", "/elsewhere", &[("origin", "https://a.example")]);
    let (mut ticket, decision) = app.pipeline.begin(&mut head);
    assert!(matches!(decision, Decision::Hooks));
    assert!(ticket.request_id().is_some());
    head.uri = "/items".parse().unwrap();
    let decision = app.pipeline.resume(&head, &mut ticket);
    assert!(
        matches!(
            decision,
            Decision::Handle {
                route: &"/items",
                ..
            }
        ),
        "{decision:?}"
    );
}

#[test]
fn an_answer_of_a_hook_has_its_cors_fields() {
    let mut app = App::new(&json!({"cors": {"allow_origins": ["https://a.example"]}}));
    app.pipeline.set_request_hooks(true);
    let mut head = head("GET", "/items", &[("origin", "https://a.example")]);
    let (ticket, _) = app.pipeline.begin(&mut head);
    let mut fields = HeaderMap::new();
    app.pipeline.finish_fields(&ticket, &mut fields);
    assert_eq!(fields["access-control-allow-origin"], "https://a.example");
}

#[test]
fn an_unknown_route_option_is_an_error_that_names_it() {
    for (options, named) in [
        (json!({"requires_auth": false}), "requires_auth"),
        (json!({"max_body_size": -1}), "max_body_size"),
        (json!({"request_timeout": 0}), "request_timeout"),
        (
            json!({"rate_limit": {"per_second": 0, "burst": 1}}),
            "per_second",
        ),
        (json!({"scopes": ["read"]}), "scopes"),
    ] {
        let error = App::new(&json!({}))
            .try_add("GET", "/new", &options)
            .unwrap_err();
        assert!(error.to_string().contains(named), "{options}: {error}");
    }
}

#[test]
fn every_kind_of_target_passes_authentication_and_the_rate_limit() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.txt"), "file").unwrap();
    let files = json!([{"directory": directory.path(), "route_prefix": "/static"}]);
    let keys = json!({"keys": ["right"]});
    let app = App::new(&json!({"static_files": files, "api_key_auth": keys}));
    let rate = json!({"per_second": 0.001, "burst": 1});
    let limited = App::new(&json!({"static_files": files, "rate_limit": rate}));
    for (peer, (method, target)) in [
        ("GET", "/items"),
        ("HEAD", "/items"),
        ("OPTIONS", "/items"),
        ("PUT", "/items"),
        ("GET", "/nothing"),
        ("GET", "/static/a.txt"),
        ("GET", "/static/missing"),
        ("POST", "/static/a.txt"),
        ("GET", "/items/%ff"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            app.send(head(method, target, &[])).status,
            401,
            "{method} {target}"
        );
        let peer = format!("198.51.100.{peer}:1");
        let twice = [1, 2].map(|_| limited.send(head_from(&peer, method, target, &[])).status);
        assert_ne!(twice[0], 429, "{method} {target}");
        assert_eq!(twice[1], 429, "{method} {target}");
    }
    assert_eq!(app.get("/open", &[]).reached, Some("/open"));
}

#[test]
fn the_rate_limit_answers_before_a_key_is_looked_at() {
    let app = App::new(&json!({
        "rate_limit": {"per_second": 1, "burst": 1},
        "api_key_auth": {"keys": ["right"]},
    }));
    let wrong = [("x-api-key", "wrong")];
    assert_eq!(app.get("/items", &wrong).status, 401);
    assert_eq!(app.get("/items", &wrong).status, 429);
}

#[test]
fn a_response_of_a_policy_has_the_fields_of_the_others() {
    let app = App::new(&json!({
        "cors": {"allow_origins": ["https://a.example"]},
        "rate_limit": {"per_second": 1, "burst": 5},
        "api_key_auth": {"keys": ["right"]},
    }));
    let reply = app.get("/items", &[("origin", "https://a.example")]);
    assert_eq!(reply.status, 401);
    assert_eq!(reply.field("ratelimit-limit").as_deref(), Some("5"));
    let origin = reply.field("access-control-allow-origin");
    assert_eq!(origin.as_deref(), Some("https://a.example"));
    assert_eq!(reply.field("x-request-id").unwrap().len(), 36);
}

#[test]
fn request_ids_can_be_switched_off() {
    let app = App::new(&json!({"enable_request_id": false}));
    let reply = app.get("/items", &[("x-request-id", "external-id")]);
    assert_eq!(reply.field("x-request-id"), None);
}

#[test]
fn a_given_request_id_comes_back() {
    let reply = App::new(&json!({})).get("/items", &[("x-request-id", "trace-123")]);
    assert_eq!(reply.field("x-request-id").as_deref(), Some("trace-123"));
}

#[test]
fn zero_concurrency_is_an_error_and_the_rest_is_passed_on() {
    assert!(App::try_new(&json!({"max_concurrency": 0})).is_err());
    let app = App::new(&json!({"max_concurrency": 3, "max_queue": 4}));
    let expected = Concurrency {
        max_running: Some(3),
        max_waiting: 4,
    };
    assert_eq!(app.pipeline.concurrency(), expected);
}

#[test]
fn a_refused_grpc_call_ends_with_a_status_instead_of_a_document() {
    let mut app = App::new(&json!({
        "jwt_auth": {"secret": "a secret of at least thirty-two bytes"},
        "rate_limit": {"per_second": 0.001, "burst": 1},
        "max_body_size": 10,
    }));
    app.add(
        "POST",
        "/pkg.Service/Open",
        &json!({
            "require_auth": false, "rate_limit": {"per_second": 1, "burst": 100},
        }),
    );
    let grpc = ("content-type", "application/grpc+proto");
    for (target, fields, code) in [
        ("/pkg.Service/Method", &[grpc] as &[_], Some("16")),
        ("/pkg.Service/Method", &[grpc], Some("8")),
        (
            "/pkg.Service/Open",
            &[grpc, ("content-length", "11")],
            Some("8"),
        ),
        ("/pkg.Service/Open", &[grpc], None),
        (
            "/pkg.Service/Open",
            &[
                ("content-type", "application/json"),
                ("content-length", "11"),
            ],
            None,
        ),
    ] {
        let reply = app.send(head("POST", target, fields));
        assert_eq!(
            reply.field("grpc-status").as_deref(),
            code,
            "{target} {fields:?}"
        );
        if code.is_some() {
            assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
            assert_eq!(
                reply.field("content-type").as_deref(),
                Some("application/grpc")
            );
            assert!(reply.field("grpc-message").is_some());
        }
    }
}
