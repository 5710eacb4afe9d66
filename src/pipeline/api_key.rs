//! API keys: a key in a field (or, on demand, in the query), compared as digests in constant time.

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::config::{ApiKeyConfig, ConfigError};
use super::problem::{Answer, unauthorized};
use crate::message::head::Head;
use crate::message::query::Query;

/// The compiled policy: only digests of the keys stay in memory.
#[derive(Debug)]
pub(super) struct ApiKeys {
    digests: Vec<[u8; 32]>,
    header: HeaderName,
    query_param: Option<String>,
    expected: String,
}

/// How a key that is stored as its digest begins.
const HASHED: &str = "sha256:";

impl ApiKeys {
    /// Compiles the policy.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for no keys, an empty one, a malformed digest, or a bad field name.
    pub(super) fn new(config: &ApiKeyConfig) -> Result<Self, ConfigError> {
        let field = "api_key_auth.keys";
        if config.keys.is_empty() {
            return Err(ConfigError::value(field, "empty", "at least one key"));
        }
        let mut digests = Vec::with_capacity(config.keys.len());
        for key in &config.keys {
            digests.push(digest(key).ok_or_else(|| {
                let expected = "keys that are not empty, or 'sha256:' and 64 hexadecimal digits";
                ConfigError::value(field, "malformed (not shown)", expected)
            })?);
        }
        let header = HeaderName::try_from(config.header_name.as_str()).map_err(|_| {
            let shown = format!("{:?}", config.header_name);
            ConfigError::value("api_key_auth.header_name", shown, "a field name")
        })?;
        let by_header = format!("Expected '{}' header", config.header_name);
        let expected = match &config.query_param {
            None => format!("{by_header} with valid API key"),
            Some(name) if !name.is_empty() => {
                format!("{by_header} or '{name}' query parameter with valid API key")
            }
            Some(_) => {
                let field = "api_key_auth.query_param";
                return Err(ConfigError::value(field, "empty", "a name, or null"));
            }
        };
        Ok(Self {
            digests,
            header,
            query_param: config.query_param.clone(),
            expected,
        })
    }

    /// Returns which key the request shows, or the 401 that it gets.
    pub(super) fn check(&self, head: &Head) -> Result<u32, Box<Answer>> {
        let mut shown = head.headers.get_all(&self.header).iter();
        let found = match (shown.next(), shown.next()) {
            (Some(key), None) => self.find(key.as_bytes()),
            (Some(_), Some(_)) => None,
            (None, _) => match self.key_in_query(head) {
                Some(key) => self.find(key.as_bytes()),
                None => return Err(self.refuse("Missing API key", &self.expected)),
            },
        };
        found.ok_or_else(|| self.refuse("Invalid API key", "The provided API key is not valid"))
    }

    /// The key in the query; two of them are none, as with the field.
    fn key_in_query(&self, head: &Head) -> Option<String> {
        let query = Query::parse(head.query()).ok()?;
        let mut values = query.all(self.query_param.as_deref()?);
        let key = values.next()?.into_owned();
        values.next().is_none().then_some(key)
    }

    /// Compares with every key, so that the time says nothing about which one was near.
    fn find(&self, key: &[u8]) -> Option<u32> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut found = Choice::from(0);
        let mut index = 0_u32;
        for (place, known) in (0_u32..).zip(&self.digests) {
            let is_equal = known.ct_eq(&digest);
            index = u32::conditional_select(&index, &place, is_equal);
            found |= is_equal;
        }
        bool::from(found).then_some(index)
    }

    fn refuse(&self, title: &'static str, detail: &str) -> Box<Answer> {
        let challenge = HeaderValue::from_str(&format!("ApiKey header=\"{}\"", self.header))
            .expect("a field name fits into a field value");
        Box::new(unauthorized(title, detail, challenge))
    }
}

/// The digest of a configured key, `None` for one that cannot be right.
fn digest(key: &str) -> Option<[u8; 32]> {
    let Some(hexadecimal) = key.strip_prefix(HASHED) else {
        return (!key.trim().is_empty()).then(|| Sha256::digest(key.as_bytes()).into());
    };
    let mut digest = [0; 32];
    if hexadecimal.len() != 64 || !hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hexadecimal[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}
