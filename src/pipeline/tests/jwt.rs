//! Bearer tokens.

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::*;

const SECRET: &str = "a secret of at least thirty-two bytes";
const FAILED: &str = "JWT validation failed";
const INVALID: &str = "Token is invalid";

fn app(extra: &Value) -> App {
    let mut jwt = json!({"secret": SECRET});
    for (name, value) in extra.as_object().unwrap() {
        jwt[name] = value.clone();
    }
    App::new(&json!({"jwt_auth": jwt}))
}

fn token(claims: &Value) -> String {
    token_with(&json!({"alg": "HS256"}), &claims.to_string())
}

/// Signs any head and payload with HS256, whatever the head says.
fn token_with(head: &Value, payload: &str) -> String {
    sign(&format!(
        "{}.{}",
        base64(&head.to_string()),
        base64(payload)
    ))
}

fn sign(message: &str) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

fn send(app: &App, token: &str) -> Reply {
    app.get("/items", &[("authorization", &format!("Bearer {token}"))])
}

fn later() -> u64 {
    NOW + 60
}

#[test]
fn the_claims_of_a_good_token_are_kept_whole() {
    let claims = json!({"sub": "anna", "exp": later(), "custom": {"team": [1, 2]}, "iat": 0});
    let reply = send(&app(&json!({})), &token(&claims));
    assert_eq!(reply.reached, Some("/items"));
    assert_eq!(reply.claims, Some(claims));
}

#[test]
fn the_scheme_is_found_in_any_case() {
    let token = token(&json!({"exp": later()}));
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let field = format!("{scheme} {token}");
        let reply = app(&json!({})).get("/items", &[("authorization", &field)]);
        assert_eq!(reply.status, 200, "{scheme}");
    }
}

#[test]
fn a_request_that_shows_no_token_is_told_what_is_expected() {
    let missing = (
        "Missing or invalid Authorization header",
        "Expected 'Authorization: Bearer <token>'",
    );
    let scheme = (
        "Invalid Authorization header format",
        "Authorization header must use Bearer scheme: 'Bearer <token>'",
    );
    for (fields, expected) in [
        (&[] as &[_], missing),
        (
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            missing,
        ),
        (&[("authorization", "Basic dTpw")], scheme),
        (
            &[(
                "authorization",
                "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.x",
            )],
            scheme,
        ),
        (&[("authorization", "Bearer")], scheme),
        (&[("authorization", "")], scheme),
    ] {
        let reply = app(&json!({})).get("/items", fields);
        let words = reply.words();
        assert_eq!(reply.status, 401);
        assert_eq!((words.1.as_str(), words.2.as_str()), expected, "{fields:?}");
        assert_eq!(reply.field("www-authenticate").as_deref(), Some("Bearer"));
    }
}

#[test]
fn a_token_without_three_parts_is_malformed() {
    for (token, found) in [
        ("", 1),
        ("a", 1),
        ("a.b", 2),
        ("a.b.c.d", 4),
        ("a.b.c.d.e", 5),
    ] {
        let words = send(&app(&json!({})), token).words();
        assert_eq!(words.1, "Malformed JWT token");
        let detail =
            format!("Malformed JWT token: expected 3 parts separated by dots, found {found}");
        assert_eq!(words.2, detail);
    }
}

#[test]
fn every_claim_that_is_configured_is_judged() {
    let config = json!({"audience": ["api", "other"], "issuer": "auth"});
    let app = app(&config);
    let good = json!({"exp": later(), "aud": "api", "iss": "auth"});
    let issuer = "Token issuer is invalid, expected 'auth'";
    let audience = "Token audience is invalid";
    let not_yet = "JWT not valid yet, not before claim is in the future";
    for (name, value, expected) in [
        ("sub", json!("x"), None),
        ("aud", json!(["x", "other"]), None),
        ("exp", json!(later()), None),
        ("exp", json!(1_700_000_000.5), None),
        ("nbf", json!(NOW), None),
        ("iat", json!(later()), None),
        ("exp", json!(NOW), Some("Token has expired")),
        ("exp", json!(0), Some("Token has expired")),
        ("exp", json!(-1), Some("Token has expired")),
        ("exp", json!("never"), Some(INVALID)),
        ("exp", json!(null), Some(INVALID)),
        ("nbf", json!(NOW + 1), Some(not_yet)),
        ("nbf", json!("x"), Some(INVALID)),
        ("aud", json!("apix"), Some(audience)),
        ("aud", json!(["x"]), Some(audience)),
        ("aud", json!([]), Some(audience)),
        ("aud", json!({"api": 1}), Some(audience)),
        ("aud", json!(null), Some(audience)),
        ("iss", json!("aut"), Some(issuer)),
        ("iss", json!("auth/evil"), Some(issuer)),
        ("iss", json!(["auth"]), Some(issuer)),
        ("iss", json!(null), Some(issuer)),
    ] {
        let mut claims = good.clone();
        claims[name] = value;
        let reply = send(&app, &token(&claims));
        match expected {
            None => assert_eq!(reply.status, 200, "{claims}"),
            Some(detail) => {
                let words = reply.words();
                assert_eq!(
                    (words.1.as_str(), words.2.as_str()),
                    (FAILED, detail),
                    "{claims}"
                );
                let challenge = reply.field("www-authenticate");
                assert_eq!(challenge.as_deref(), Some("Bearer error=\"invalid_token\""));
            }
        }
    }
    for name in ["exp", "aud", "iss"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().shift_remove(name);
        assert_eq!(send(&app, &token(&claims)).status, 401, "without {name}");
    }
}

#[test]
fn leeway_moves_both_ends() {
    let app = app(&json!({"leeway": 10}));
    for (claims, status) in [
        (json!({"exp": NOW - 9}), 200),
        (json!({"exp": NOW - 10}), 401),
        (json!({"exp": later(), "nbf": NOW + 10}), 200),
        (json!({"exp": later(), "nbf": NOW + 11}), 401),
    ] {
        assert_eq!(send(&app, &token(&claims)).status, status, "{claims}");
    }
}

#[test]
fn an_expiry_is_required_unless_the_configuration_says_otherwise() {
    let claims = token(&json!({"sub": "x"}));
    assert_eq!(send(&app(&json!({})), &claims).words().2, INVALID);
    assert_eq!(
        send(&app(&json!({"required_claims": []})), &claims).status,
        200
    );
    let tenant = app(&json!({"required_claims": ["tenant"]}));
    assert_eq!(send(&tenant, &claims).status, 401);
    assert_eq!(send(&tenant, &token(&json!({"tenant": "t"}))).status, 200);
}

#[test]
fn a_token_is_refused_whose_head_says_anything_but_our_algorithm() {
    let payload = json!({"exp": later()}).to_string();
    for head in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "nOnE"}),
        json!({"alg": "hs256"}),
        json!({"alg": "HS384"}),
        json!({"alg": "RS256"}),
        json!({"alg": ["HS256"]}),
        json!({}),
        json!({"alg": "HS256", "crit": ["exp"]}),
        json!({"alg": "HS256", "crit": ["http://example.com/UNDEFINED"]}),
        json!("HS256"),
    ] {
        let words = send(&app(&json!({})), &token_with(&head, &payload)).words();
        assert_eq!(words.2, INVALID, "{head}");
        let unsigned = format!("{}.{}.", base64(&head.to_string()), base64(&payload));
        assert_eq!(send(&app(&json!({})), &unsigned).status, 401, "{head}");
    }
    let unsigned = format!("{}.{}.", base64(r#"{"alg":"HS256"}"#), base64(&payload));
    assert_eq!(
        send(&app(&json!({})), &unsigned).words().2,
        "Token signature is invalid"
    );
}

#[test]
fn keys_that_a_token_names_are_neither_fetched_nor_used() {
    let payload = json!({"exp": later()}).to_string();
    for extra in [
        json!({"kid": "../../dev/null"}),
        json!({"kid": "' OR 1=1 --"}),
        json!({"kid": "http://127.0.0.1:1/key"}),
        json!({"jku": "http://127.0.0.1:1/jwks", "x5u": "http://127.0.0.1:1/x"}),
        json!({"jwk": {"kty": "oct", "k": "AAAA"}}),
    ] {
        let mut head = extra.clone();
        head["alg"] = json!("HS256");
        let good = token_with(&head, &payload);
        assert_eq!(
            send(&app(&json!({})), &good).status,
            200,
            "ignored: {extra}"
        );
        let other = app(&json!({"secret": "another secret, which did not sign it"}));
        assert_eq!(send(&other, &good).words().2, "Token signature is invalid");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let good = token(&json!({"exp": later()}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    // 32 bytes are 43 characters, of which the last has two bits to spare.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).unwrap();
    let spare = alphabet.as_bytes()[place ^ 1] as char;
    let cut = &signature[..signature.len() - 1];
    let payload = format!(
        "{}.{}=.{signature}",
        base64(r#"{"alg":"HS256"}"#),
        base64("{}")
    );
    for token in [
        format!("{message}.{cut}{spare}"),
        format!("{message}.{cut}"),
        format!("{message}.{signature}="),
        format!("{message}.{signature} "),
        format!(" {message}.{signature}"),
        format!("{message}.invalid_signature_here"),
        payload,
    ] {
        assert_eq!(send(&app(&json!({})), &token).status, 401, "{token}");
    }
    let forged = format!("{message}.invalid_signature_here");
    assert_eq!(
        send(&app(&json!({})), &forged).words().2,
        "Token signature is invalid"
    );
}

#[test]
fn hostile_payloads_are_refused() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for payload in [
        format!(r#"{{"exp":{},"a":{deep}}}"#, later()),
        format!(r#"{{"exp":0,"exp":{}}}"#, later()),
        format!(r#"{{"exp":{},"exp":0}}"#, later()),
        format!("[{}]", later()),
        r#"{"exp":1e400}"#.to_owned(),
        "not json".to_owned(),
        String::new(),
    ] {
        let reply = send(
            &app(&json!({})),
            &token_with(&json!({"alg": "HS256"}), &payload),
        );
        assert_eq!(reply.status, 401, "{}", &payload[..payload.len().min(60)]);
    }
}

#[test]
fn es512_is_verified_with_a_key_of_its_curve() {
    use ::base64::Engine;
    use ::base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    let signer = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    let der = signer.public_key().as_der().unwrap();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let claims = json!({"exp": later()}).to_string();
    let message = format!("{}.{}", base64("{\"alg\":\"ES512\"}"), base64(&claims));
    let random = aws_lc_rs::rand::SystemRandom::new();
    let signature = signer.sign(&random, message.as_bytes()).unwrap();
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
    let point = signer.public_key().as_ref();
    let (x, y) = point[1..].split_at(66);
    let jwk = json!({
        "kty": "EC", "crv": "P-521", "alg": "ES512",
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    for config in [
        json!({"secret": pem, "algorithm": "ES512"}),
        json!({"secret": null, "jwks": {"keys": [jwk]}, "algorithm": "ES512"}),
    ] {
        let app = app(&config);
        assert_eq!(send(&app, &token).status, 200);
        let changed = token.replacen('.', ".e30", 1);
        assert_eq!(send(&app, &changed).words().2, "Token signature is invalid");
    }
    for algorithm in ["ES256", "ES384"] {
        let config = json!({"jwt_auth": {"secret": pem, "algorithm": algorithm}});
        let error = App::try_new(&config).err().unwrap().to_string();
        assert!(error.contains("curve"), "{error}");
    }
}

#[test]
fn asymmetric_tokens_are_verified_with_the_public_key_and_never_as_a_secret() {
    let elliptic = [
        ("ES256", Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256),
        ("ES384", Algorithm::ES384, &rcgen::PKCS_ECDSA_P384_SHA384),
        ("EdDSA", Algorithm::EdDSA, &rcgen::PKCS_ED25519),
    ]
    .map(|(name, algorithm, kind)| {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let private = pair.serialize_pem();
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
            _ => EncodingKey::from_ec_pem(private.as_bytes()),
        };
        (name, algorithm, key.unwrap(), pair.public_key_pem())
    });
    let rsa = [
        ("RS256", Algorithm::RS256),
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS384", Algorithm::PS384),
        ("PS512", Algorithm::PS512),
    ]
    .map(|(name, algorithm)| {
        let key = EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap();
        (name, algorithm, key, RSA_PUBLIC.to_owned())
    });
    for (name, algorithm, key, public) in elliptic.into_iter().chain(rsa) {
        let claims = json!({"exp": later()});
        let good = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap();
        let app = app(&json!({"secret": public, "algorithm": name}));
        assert_eq!(send(&app, &good).status, 200, "{name}");
        let changed = good.replacen('.', ".e30", 1);
        assert_eq!(send(&app, &changed).status, 401, "{name}");
        let shared = EncodingKey::from_secret(public.as_bytes());
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let forged = jsonwebtoken::encode(&Header::new(algorithm), &claims, &shared).unwrap();
            assert_eq!(send(&app, &forged).words().2, INVALID, "{name}");
        }
    }
}

#[test]
fn a_kid_chooses_inside_the_configured_set_only() {
    let secrets = [
        ("one", "first secret, thirty-two bytes long"),
        ("two", SECRET),
    ];
    let keys = secrets.map(|(kid, secret)| json!({"kty": "oct", "kid": kid, "k": base64(secret)}));
    let path = tempfile::NamedTempFile::new().unwrap();
    let document = json!({"keys": keys});
    std::fs::write(path.path(), document.to_string()).unwrap();
    for jwks in [document.clone(), json!(path.path())] {
        let app = App::new(&json!({"jwt_auth": {"jwks": jwks}}));
        let payload = json!({"exp": later()}).to_string();
        for (head, status) in [
            (json!({"alg": "HS256", "kid": "two"}), 200),
            (json!({"alg": "HS256", "kid": "one"}), 401),
            (json!({"alg": "HS256", "kid": "three"}), 401),
            (json!({"alg": "HS256", "kid": "../two"}), 401),
            (json!({"alg": "HS256"}), 401),
        ] {
            assert_eq!(
                send(&app, &token_with(&head, &payload)).status,
                status,
                "{head}"
            );
        }
    }
}

#[test]
fn scopes_and_roles_are_asked_for_by_the_route() {
    let mut app = app(&json!({}));
    app.add("GET", "/scoped", &json!({"scopes": ["read", "write"]}));
    app.add("GET", "/admin", &json!({"roles": ["admin", "root"]}));
    for (target, claims, status) in [
        ("/scoped", json!({"scope": "write read"}), 200),
        ("/scoped", json!({"scp": ["read", "write"]}), 200),
        (
            "/scoped",
            json!({"scopes": ["read"], "scope": "write"}),
            200,
        ),
        ("/scoped", json!({"scope": "read"}), 403),
        ("/scoped", json!({"scope": "readwrite"}), 403),
        ("/scoped", json!({}), 403),
        ("/admin", json!({"roles": ["user", "root"]}), 200),
        ("/admin", json!({"role": "admin"}), 200),
        ("/admin", json!({"roles": ["administrator"]}), 403),
        ("/admin", json!({"scope": "admin"}), 403),
    ] {
        let mut claims = claims;
        claims["exp"] = json!(later());
        let field = format!("Bearer {}", token(&claims));
        let reply = app.get(target, &[("authorization", &field)]);
        assert_eq!(reply.status, status, "{target} {claims}");
        if status == 403 {
            let challenge = reply.field("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer error=\"insufficient_scope\""));
        }
    }
}

#[test]
fn with_an_api_key_configured_too_both_are_needed() {
    let app = App::new(&json!({
        "jwt_auth": {"secret": SECRET}, "api_key_auth": {"keys": ["right"]},
    }));
    let field = format!("Bearer {}", token(&json!({"exp": later()})));
    let (bearer, key) = (("authorization", field.as_str()), ("x-api-key", "right"));
    assert_eq!(app.get("/items", &[bearer, key]).status, 200);
    assert_eq!(app.get("/items", &[bearer]).words().1, "Missing API key");
    assert_eq!(
        app.get("/items", &[key]).words().1,
        "Missing or invalid Authorization header"
    );
    assert_eq!(app.get("/open", &[]).status, 200);
}

#[test]
fn a_client_cannot_send_claims_of_its_own() {
    let app = app(&json!({}));
    let mut head = head(
        "GET",
        "/open",
        &[("x-spikard-jwt-claims", r#"{"sub":"admin"}"#)],
    );
    let (ticket, _) = app.pipeline.begin(&mut head);
    assert!(head.headers.is_empty() && ticket.claims().is_none());
}

#[test]
fn a_limit_may_count_a_claim() {
    let app = App::new(&json!({
        "rate_limit": {"per_second": 0.001, "burst": 1, "by": "claim:sub"},
        "jwt_auth": {"secret": SECRET},
    }));
    for (name, status) in [("anna", 200), ("anna", 429), ("ben", 200)] {
        let token = token(&json!({"exp": later(), "sub": name}));
        assert_eq!(send(&app, &token).status, status, "{name}");
    }
}

#[test]
fn a_key_that_does_not_fit_the_algorithm_is_an_error_that_hides_it() {
    for config in [
        json!({"secret": ""}),
        json!({"secret": RSA_PUBLIC}),
        json!({"secret": "text", "algorithm": "RS256"}),
        json!({"secret": RSA_PUBLIC, "algorithm": "ES256"}),
        json!({"secret": RSA_PUBLIC, "algorithm": "EdDSA"}),
        json!({"secret": SECRET, "algorithm": "none"}),
        json!({"secret": SECRET, "audience": []}),
        json!({"secret": SECRET, "issuer": ""}),
        json!({"secret": SECRET, "leeway": -1}),
        json!({"secret": SECRET, "jwks": {"keys": []}}),
        json!({"jwks": {"keys": []}}),
        json!({"jwks": "/nonexistent/jwks.json"}),
        json!({}),
    ] {
        let error = App::try_new(&json!({"jwt_auth": config}))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("jwt_auth.") && !error.contains("BEGIN"),
            "{error}"
        );
        assert!(!error.contains(SECRET), "{error}");
    }
}

/// A key pair for these tests alone.
const RSA_PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCjvnWsedVG3jLw\n\
jMhlQXb0TID7WwtrObhBJXHVPhBhw+Zdvn9c4B4QZygfNid2HLAAZEhgfdVg/sTq\n\
kx2z61djYwtLEl4qOMiK0VkUhcvCKAi6oQrf2L7MstscX7HqzTR1hWv3CbwOzXgV\n\
1wiDltsNR8oHEs8TijxztGdWCZ8266Hw3NfQCoWSCWJEcdCRO2QRUdzbw9OVEH/Y\n\
uA+3Hm+TSRIpNKlc6xAAPdXQt7M6uRlKH67hZqLC7kh9HnYrwhpwnNtEHEbPal46\n\
BiRr09V7eb/udB24yQ2J+LQFiFcM0m5/BJUNktPhtpVlokw1egX6rriwqFT4msN6\n\
uYQagUyfAgMBAAECggEAPks0kFfPTEU3Qu2ERYVIwHskbLu/1dyhHOOmcVZJvC/f\n\
gZV59bbrqRjdmjYrgBM84AFGybLFjT+PYaBzYeHsHortHnPP8CcnICyxw419LZG2\n\
dG3U6cEXIV//3MUJNkc4KGeIYfTJnyYLA+AJRKqNDnnbwaIltozWH7ynvYMul6Ej\n\
yJbfyXGk+NNRw7L7mOnAsSzcmudxVGyo5wRPmWRV0hl/RUC8vGV7V4Xo0DJXe2iF\n\
exGu1MLWHde5BV/gbKYHc4ijhrs4i3YikXmh05azIBBUYK/DwM4JEaEkKKuP1QKF\n\
UK1CONjrOL/3T7ApHrIivLnPqQVg6AoULhVW8ORDyQKBgQDgnclnJ99c536477Cy\n\
M6r76XCfnkOa1Zrscxb269avtEZzm3v2JZDfW50il1TWhtpk4I/e/WHbohjJIx8a\n\
di5Dq8+RipocNk91axHe2kc1osHRAtOzFjPQ2aOqLeWR1D9At5+1aln9lAqqUUNX\n\
5dtSrSGpQDAbPcOncAwFGtlwGQKBgQC6n1ptX4PPrRcWSBy9VimgOTIgHkVmjwbL\n\
QGgW2fQZ72Tt0q8/rWNHlhS3fpQqd8CcdkLh1tk9I3QyYOnybH4Izs/f9UosdbSO\n\
KKASxZicGeyTlW7JwntX2bGMNAm1nQKZzwb/MHANFHkovvWK8KK/H1x1jwamW6ns\n\
lnepg9HZdwKBgDgPiaYCcKA6cwlrYXmIpcNMBzz/fjYV3B3pt7CXOjUOVIskInNT\n\
+u2UawqoJJeKftWwqpfoO9Vahr8k0e2D05Y2Oo9DvaUO9RQETiiF6EH9xkwJXZcU\n\
Eois2UlvPR4BkGvxqJ3Z1m4Q1fyeXaWBjBT9eypIB/m0l7GhqI5Zni15AoGATDok\n\
xIH8JArOYFKKMqgMDp7uI4JZ1J9dJg4jthnGhAVtk1q4LGlVIPtjcOPp/0K00PPZ\n\
M8f/KeLeZmmBhXzdKhnXfOIDLw/Q9TQQ1joRsMlCAbJK82xV1zdbNypWQPFmC48t\n\
i3SsgBs5tfPx9ZN+1lQn/vixvae5S6LWM85dG9cCgYA3imhD+j0VjjLH/29uk5jo\n\
xknl94IgDB17SdJPJXtaJ2xuKWm9sTWputd8cfZJ6niuDqNIW2fz37npLmPjzSYG\n\
dKhSq7PyTNiqH54/wawLYOLxfm3kbzmR8eVhBNDho6jD/mZwRT8cVPWslRQK44+j\n\
br5oJ3eu/kMOPtuY8H6uXA==\n\
-----END PRIVATE KEY-----\n";

/// The public half of [`RSA_PRIVATE`].
const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAo751rHnVRt4y8IzIZUF2\n\
9EyA+1sLazm4QSVx1T4QYcPmXb5/XOAeEGcoHzYndhywAGRIYH3VYP7E6pMds+tX\n\
Y2MLSxJeKjjIitFZFIXLwigIuqEK39i+zLLbHF+x6s00dYVr9wm8Ds14FdcIg5bb\n\
DUfKBxLPE4o8c7RnVgmfNuuh8NzX0AqFkgliRHHQkTtkEVHc28PTlRB/2LgPtx5v\n\
k0kSKTSpXOsQAD3V0LezOrkZSh+u4Waiwu5IfR52K8IacJzbRBxGz2peOgYka9PV\n\
e3m/7nQduMkNifi0BYhXDNJufwSVDZLT4baVZaJMNXoF+q64sKhU+JrDermEGoFM\n\
nwIDAQAB\n\
-----END PUBLIC KEY-----\n";
