//! JSON Web Tokens (RFC 7519, RFC 8725): one algorithm, keys that are typed by it, and the claims
//! that the configuration asks for. Nothing that a token says makes this server fetch anything.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::config::{ConfigError, JwtConfig, OneOrMany};
use super::problem::{Answer, answer, unauthorized};
use super::token_cache::TokenCache;
use crate::message::problem::Problem;

/// The compiled policy.
pub(super) struct Jwt {
    algorithm: Signing,
    /// The algorithm's name, as a token's head must have it.
    name: String,
    keys: Keys,
    audiences: Option<HashSet<String>>,
    issuers: Option<Vec<String>>,
    required: Vec<String>,
    leeway: Duration,
    passed: TokenCache,
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signing {
    /// As jsonwebtoken checks it.
    Library(Algorithm),
    /// ECDSA over P-521 (RFC 7518 §3.4), which jsonwebtoken does not have.
    Es512,
}

impl Signing {
    fn family(self) -> AlgorithmFamily {
        match self {
            Self::Library(algorithm) => algorithm.family(),
            Self::Es512 => AlgorithmFamily::Ec,
        }
    }

    /// Says whether this is the algorithm that a key of a set is for.
    fn is(self, declared: KeyAlgorithm) -> bool {
        match self {
            Self::Library(algorithm) => declared == KeyAlgorithm::from(algorithm),
            // What jsonwebtoken makes of a name that it does not know.
            Self::Es512 => declared == KeyAlgorithm::UNKNOWN_ALGORITHM,
        }
    }

    /// Says whether a key of the right family is also on the algorithm's curve.
    fn takes(self, key: &DecodingKey) -> bool {
        let point_bytes = match self {
            Self::Library(Algorithm::ES256) => 2 * 32 + 1,
            Self::Library(Algorithm::ES384) => 2 * 48 + 1,
            Self::Es512 => 2 * 66 + 1,
            Self::Library(_) => return true,
        };
        key.try_get_as_bytes()
            .is_ok_and(|point| point.len() == point_bytes)
    }

    fn verify(self, signature: &str, message: &[u8], key: &DecodingKey) -> bool {
        match self {
            Self::Library(algorithm) => {
                jsonwebtoken::crypto::verify(signature, message, key, algorithm).unwrap_or(false)
            }
            Self::Es512 => {
                let signature = URL_SAFE_NO_PAD.decode(signature);
                let (Ok(point), Ok(signature)) = (key.try_get_as_bytes(), signature) else {
                    return false;
                };
                UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point)
                    .verify(message, &signature)
                    .is_ok()
            }
        }
    }
}

enum Keys {
    One(DecodingKey),
    Set(Vec<(Option<String>, DecodingKey)>),
}

/// What a route asks of the claims beyond their being right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Demands {
    /// All of these scopes.
    pub(super) scopes: Vec<String>,
    /// One of these roles.
    pub(super) roles: Vec<String>,
}

impl Jwt {
    /// Compiles the policy.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for an unknown algorithm, a key that does not fit it, a file that cannot
    /// be read, or an empty list.
    pub(super) fn new(config: &JwtConfig) -> Result<Self, ConfigError> {
        let algorithm = parse_algorithm(&config.algorithm)?;
        let keys = match (&config.secret, &config.jwks) {
            (Some(secret), None) => Keys::One(single_key(secret, algorithm)?),
            (None, Some(jwks)) => Keys::Set(key_set(jwks, algorithm)?),
            (given, _) => {
                let found = if given.is_some() {
                    "given beside jwks"
                } else {
                    "missing"
                };
                let expected = "either a secret or a JWK Set";
                return Err(ConfigError::value("jwt_auth.secret", found, expected));
            }
        };
        let audiences = some_of("jwt_auth.audience", config.audience.clone())?;
        let leeway = Duration::try_from_secs_f64(config.leeway)
            .ok()
            .filter(|leeway| *leeway <= MAX_LEEWAY)
            .ok_or_else(|| {
                let expected = format!("0 to {} seconds", MAX_LEEWAY.as_secs());
                ConfigError::value("jwt_auth.leeway", config.leeway, expected)
            })?;
        Ok(Self {
            algorithm,
            name: config.algorithm.clone(),
            keys,
            audiences: audiences.map(|names| names.into_iter().collect()),
            issuers: some_of("jwt_auth.issuer", config.issuer.clone())?,
            required: config.required_claims.clone(),
            leeway,
            passed: TokenCache::default(),
        })
    }

    /// Returns the verified claims of a request's bearer token, or the 401 that it gets.
    ///
    /// `now` is the time since the Unix epoch.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        now: Duration,
    ) -> Result<Arc<Value>, Box<Answer>> {
        self.claims(headers, now)
            .map_err(|refusal| Box::new(refusal.answer()))
    }

    fn claims(&self, headers: &HeaderMap, now: Duration) -> Result<Arc<Value>, Refusal> {
        let token = bearer(headers)?;
        if let Some((claims, lifetime)) = self.passed.find(token) {
            return lifetime.judge(now, self.leeway).map(|()| claims);
        }
        let claims = self.verify(token)?;
        let lifetime = Lifetime::of(&claims)?;
        lifetime.judge(now, self.leeway)?;
        self.judge(&claims)?;
        let claims = Arc::new(Value::Object(claims));
        self.passed.keep(token, &claims, lifetime);
        Ok(claims)
    }

    fn verify(&self, token: &str) -> Result<Map<String, Value>, Refusal> {
        let parts = token.split('.').count();
        let [head, payload, signature] = split_three(token).ok_or(Refusal::Malformed { parts })?;
        let head: TokenHead = decode(head).ok_or(Refusal::Invalid)?;
        // RFC 8725 §3.1: the algorithm is ours to say. RFC 7515 §4.1.11: an extension that must
        // be understood is not.
        if head.alg != self.name || head.crit.is_some() {
            return Err(Refusal::Invalid);
        }
        let key = self.key(head.kid.as_deref()).ok_or(Refusal::Invalid)?;
        let message = &token.as_bytes()[..token.len() - signature.len() - 1];
        if !self.algorithm.verify(signature, message, key) {
            return Err(Refusal::Signature);
        }
        let Claims(claims) = decode(payload).ok_or(Refusal::Invalid)?;
        Ok(claims)
    }

    /// A `kid` chooses among our own keys and does nothing else (RFC 8725 §3.10).
    fn key(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match (&self.keys, kid) {
            (Keys::One(key), _) => Some(key),
            (Keys::Set(keys), None) => match keys.as_slice() {
                [(_, key)] => Some(key),
                _ => None,
            },
            (Keys::Set(keys), Some(kid)) => keys
                .iter()
                .find(|(own, _)| own.as_deref() == Some(kid))
                .map(|(_, key)| key),
        }
    }

    /// Judges the claims that mean the same at any time.
    fn judge(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        if let Some(audiences) = &self.audiences {
            let named = strings(claims.get("aud"));
            if !named.iter().any(|name| audiences.contains(*name)) {
                return Err(Refusal::Audience);
            }
        }
        if let Some(issuers) = &self.issuers {
            let issuer = claims.get("iss").and_then(Value::as_str);
            if !issuer.is_some_and(|issuer| issuers.iter().any(|own| own == issuer)) {
                return Err(Refusal::Issuer {
                    expected: issuers.join("' or '"),
                });
            }
        }
        if self
            .required
            .iter()
            .all(|name| claims.get(name).is_some_and(|claim| !claim.is_null()))
        {
            Ok(())
        } else {
            Err(Refusal::Invalid)
        }
    }
}

/// Between which times a token counts, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lifetime {
    start: Option<f64>,
    expiry: Option<f64>,
}

impl Lifetime {
    fn of(claims: &Map<String, Value>) -> Result<Self, Refusal> {
        Ok(Self {
            start: date(claims, "nbf")?,
            expiry: date(claims, "exp")?,
        })
    }

    fn judge(self, now: Duration, leeway: Duration) -> Result<(), Refusal> {
        let (now, leeway) = (now.as_secs_f64(), leeway.as_secs_f64());
        if self.expiry.is_some_and(|expiry| expiry + leeway <= now) {
            return Err(Refusal::Expired);
        }
        if self.start.is_some_and(|start| start - leeway > now) {
            return Err(Refusal::NotYet);
        }
        Ok(())
    }
}

impl Demands {
    /// Returns the 403 of claims that lack a scope or role, `None` when they have them.
    pub(super) fn refuse(&self, claims: &Value) -> Option<Answer> {
        let scopes: Vec<&str> = ["scope", "scp", "scopes"]
            .iter()
            .flat_map(|name| strings(claims.get(name)))
            .flat_map(str::split_ascii_whitespace)
            .collect();
        let roles: Vec<&str> = ["roles", "role"]
            .iter()
            .flat_map(|name| strings(claims.get(name)))
            .collect();
        let has_scopes = self
            .scopes
            .iter()
            .all(|scope| scopes.contains(&scope.as_str()));
        let has_role =
            self.roles.is_empty() || self.roles.iter().any(|role| roles.contains(&role.as_str()));
        if has_scopes && has_role {
            return None;
        }
        let detail = "The token does not grant what this route needs";
        let problem = Problem::of_status(StatusCode::FORBIDDEN, Some(detail.into()));
        let mut refused = answer(&problem);
        // RFC 6750 §3: the scopes that would do.
        let challenge = if has_scopes {
            "Bearer error=\"insufficient_scope\"".to_owned()
        } else {
            let scopes = self.scopes.join(" ");
            format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"")
        };
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            refused
                .headers_mut()
                .insert(http::header::WWW_AUTHENTICATE, challenge);
        }
        Some(refused)
    }
}

/// Why a request's token does not count.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Missing,
    OtherScheme,
    Malformed { parts: usize },
    Expired,
    Signature,
    Audience,
    Issuer { expected: String },
    NotYet,
    Invalid,
}

impl Refusal {
    fn answer(self) -> Answer {
        const FAILED: &str = "JWT validation failed";
        let fixed = |text: &str| text.to_owned();
        let (title, detail) = match self {
            Self::Missing => (
                "Missing or invalid Authorization header",
                fixed("Expected 'Authorization: Bearer <token>'"),
            ),
            Self::OtherScheme => (
                "Invalid Authorization header format",
                fixed("Authorization header must use Bearer scheme: 'Bearer <token>'"),
            ),
            Self::Malformed { parts } => (
                "Malformed JWT token",
                format!("Malformed JWT token: expected 3 parts separated by dots, found {parts}"),
            ),
            Self::Expired => (FAILED, fixed("Token has expired")),
            Self::Signature => (FAILED, fixed("Token signature is invalid")),
            Self::Audience => (FAILED, fixed("Token audience is invalid")),
            Self::Issuer { ref expected } => (
                FAILED,
                format!("Token issuer is invalid, expected '{expected}'"),
            ),
            Self::NotYet => (
                FAILED,
                fixed("JWT not valid yet, not before claim is in the future"),
            ),
            Self::Invalid => (FAILED, fixed("Token is invalid")),
        };
        // RFC 6750 §3.1: no error code for a request that shows no token at all.
        let challenge = match self {
            Self::Missing | Self::OtherScheme => HeaderValue::from_static("Bearer"),
            _ => HeaderValue::from_static("Bearer error=\"invalid_token\""),
        };
        unauthorized(title, detail, challenge)
    }
}

/// The fields of a token's head that mean something here.
#[derive(serde::Deserialize)]
struct TokenHead {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// Claims of which no name comes twice: readers differ in which one they would take.
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Map<String, Value>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without repeated names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name comes twice"));
                    }
                }
                Ok(claims)
            }
        }

        deserializer.deserialize_map(Unique).map(Claims)
    }
}

/// Takes the token out of `authorization`; two of that field are none.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => field.to_str().map_err(|_| Refusal::OtherScheme)?,
        _ => return Err(Refusal::Missing),
    };
    // RFC 9110 §11.1: the scheme's case does not matter.
    match field.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token),
        _ => Err(Refusal::OtherScheme),
    }
}

fn split_three(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// Decodes a part; padding and stray bits at its end are refused, so that a token has one spelling.
fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Reads a `NumericDate` claim (RFC 7519 §2).
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    let Some(claim) = claims.get(name) else {
        return Ok(None);
    };
    claim
        .as_f64()
        .filter(|date| date.is_finite())
        .map(Some)
        .ok_or(Refusal::Invalid)
}

/// The strings of a claim that is one or a list of them.
fn strings(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// More than this is not a difference between clocks.
const MAX_LEEWAY: Duration = Duration::from_secs(86_400);

fn parse_algorithm(name: &str) -> Result<Signing, ConfigError> {
    if name == "ES512" {
        return Ok(Signing::Es512);
    }
    name.parse().map(Signing::Library).map_err(|_| {
        let expected = "one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
                        ES256, ES384, ES512, EdDSA";
        ConfigError::value("jwt_auth.algorithm", format!("{name:?}"), expected)
    })
}

fn single_key(secret: &str, algorithm: Signing) -> Result<DecodingKey, ConfigError> {
    let pem = secret.as_bytes();
    let is_pem = secret.trim_start().starts_with("-----BEGIN");
    let (key, expected) = match algorithm.family() {
        // Everybody knows a public key: as a shared secret it would let everybody sign.
        AlgorithmFamily::Hmac => (
            (!secret.is_empty() && !is_pem).then(|| DecodingKey::from_secret(pem)),
            "a shared secret, not empty and not a PEM key",
        ),
        AlgorithmFamily::Rsa => (
            DecodingKey::from_rsa_pem(pem).ok(),
            "an RSA public key as PEM",
        ),
        AlgorithmFamily::Ec => (
            DecodingKey::from_ec_pem(pem).ok(),
            "an elliptic-curve public key as PEM, on the algorithm's curve",
        ),
        AlgorithmFamily::Ed => (
            DecodingKey::from_ed_pem(pem).ok(),
            "an Ed25519 public key as PEM",
        ),
    };
    let key = key.filter(|key| algorithm.takes(key));
    key.ok_or_else(|| ConfigError::value("jwt_auth.secret", "not usable (not shown)", expected))
}

/// Reads a JWK Set (RFC 7517), as the document or the path of a file with it.
fn key_set(
    jwks: &Value,
    algorithm: Signing,
) -> Result<Vec<(Option<String>, DecodingKey)>, ConfigError> {
    let wrong =
        |found: String, expected: &str| ConfigError::value("jwt_auth.jwks", found, expected);
    let set: JwkSet = match jwks {
        Value::String(path) => {
            let document = std::fs::read(path).map_err(|error| {
                wrong(
                    format!("{path:?}"),
                    &format!("a file that can be read ({error})"),
                )
            })?;
            serde_json::from_slice(&document)
                .map_err(|error| wrong(format!("{path:?}"), &format!("a JWK Set ({error})")))?
        }
        document => serde_json::from_value(document.clone())
            .map_err(|error| wrong("a document".to_owned(), &format!("a JWK Set ({error})")))?,
    };
    let mut keys = Vec::new();
    for jwk in &set.keys {
        if let Some(key) = usable_key(jwk, algorithm) {
            let kid = jwk.common.key_id.clone();
            if keys.iter().any(|(other, _)| *other == kid) {
                return Err(wrong(format!("{kid:?} twice"), "keys of different 'kid'"));
            }
            keys.push((kid, key));
        }
    }
    if keys.is_empty() {
        return Err(wrong(
            "without such a key".to_owned(),
            "a key for the algorithm",
        ));
    }
    Ok(keys)
}

/// A set may hold keys for other purposes; those of another type or algorithm do not count.
fn usable_key(jwk: &Jwk, algorithm: Signing) -> Option<DecodingKey> {
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let declared = jwk.common.key_algorithm;
    let fits = declared.is_none_or(|declared| algorithm.is(declared));
    (fits && key.family() == algorithm.family() && algorithm.takes(&key)).then_some(key)
}

fn some_of(field: &str, names: Option<OneOrMany>) -> Result<Option<Vec<String>>, ConfigError> {
    let names = names.map(OneOrMany::into_vec);
    if names
        .as_ref()
        .is_some_and(|names| names.is_empty() || names.iter().any(String::is_empty))
    {
        return Err(ConfigError::value(
            field,
            "empty",
            "at least one name, or null",
        ));
    }
    Ok(names)
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
