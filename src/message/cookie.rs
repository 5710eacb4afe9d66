//! Cookies (RFC 6265bis): reading a request's, which never fails, and writing a response's, which
//! is checked.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::media_type::is_token;

/// The cookies of a request, read from its headers when asked.
#[derive(Clone, Copy, Debug)]
pub struct Cookies<'head> {
    headers: &'head HeaderMap,
}

impl<'head> Cookies<'head> {
    /// Returns the cookies of a request head.
    pub fn of(headers: &'head HeaderMap) -> Self {
        Self { headers }
    }

    /// Returns the value of a cookie.
    ///
    /// The first one wins: browsers send the most specific path first, so a later duplicate cannot
    /// shadow it.
    pub fn first(&self, name: &str) -> Option<Cow<'head, str>> {
        let (_, value) = self
            .raw_pairs()
            .find(|(found, _)| *found == name.as_bytes())?;
        Some(decode_value(value))
    }

    /// Returns every cookie in order, duplicates too, over all `cookie` headers.
    ///
    /// Pairs without `=` or without a name are skipped. Quotes around a value are taken off with
    /// their escapes; bytes that are not UTF-8 are read as Latin-1.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'head, str>, Cow<'head, str>)> + use<'head> {
        let pairs = self.raw_pairs();
        pairs.map(|(name, value)| (text_of(Cow::Borrowed(name)), decode_value(value)))
    }

    fn raw_pairs(self) -> impl Iterator<Item = (&'head [u8], &'head [u8])> + use<'head> {
        let headers = self.headers.get_all(COOKIE).iter();
        headers.flat_map(|header| {
            header
                .as_bytes()
                .split(|byte| *byte == b';')
                .filter_map(|pair| {
                    let equals = memchr::memchr(b'=', pair)?;
                    let name = pair[..equals].trim_ascii();
                    (!name.is_empty()).then(|| (name, pair[equals + 1..].trim_ascii()))
                })
        })
    }
}

fn decode_value(raw: &[u8]) -> Cow<'_, str> {
    match raw {
        [b'"', inner @ .., b'"'] => text_of(unescape(inner)),
        plain => text_of(Cow::Borrowed(plain)),
    }
}

/// Takes off the escapes of a quoted value: `\"` and `\054`.
fn unescape(inner: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [byte, after @ ..] = rest {
        let (plain_byte, after) = match (byte, after) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after),
            (b'\\', [escaped, after @ ..]) => (*escaped, after),
            (other, after) => (*other, after),
        };
        plain.push(plain_byte);
        rest = after;
    }
    Cow::Owned(plain)
}

fn text_of(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    let latin1 = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    match bytes {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(latin1(bytes)),
        },
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(latin1(error.as_bytes())),
        },
    }
}

/// A cookie that a response sets.
///
/// ```
/// use spikard::message::cookie::{SameSite, SetCookie};
///
/// let cookie = SetCookie { http_only: true, same_site: Some(SameSite::Lax), ..SetCookie::new("session", "abc") };
/// assert_eq!(cookie.to_header_value().unwrap(), "session=abc; Path=/; HttpOnly; SameSite=Lax");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCookie<'text> {
    /// A token, RFC 9110 §5.6.2.
    pub name: Cow<'text, str>,
    /// Any text without control characters and `;`; quoted when it must be.
    pub value: Cow<'text, str>,
    /// Hosts below this one get the cookie too; without it, only the host itself.
    pub domain: Option<Cow<'text, str>>,
    /// `/` unless changed.
    pub path: Option<Cow<'text, str>>,
    /// How many whole seconds the cookie lives; zero deletes it.
    pub max_age: Option<Duration>,
    /// When the cookie ends.
    pub expires: Option<SystemTime>,
    /// Only over TLS.
    pub secure: bool,
    /// Not for scripts.
    pub http_only: bool,
    /// Whether requests that other sites start carry it.
    pub same_site: Option<SameSite>,
    /// Kept apart for every top-level site (CHIPS).
    pub partitioned: bool,
}

/// Whether requests that other sites start carry a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// When the user follows a link.
    Lax,
    /// Always; needs `Secure`.
    None,
}

impl SameSite {
    /// Reads `strict`, `lax` or `none` in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Strict, Self::Lax, Self::None]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(name))
    }

    /// Returns the name as it stands in the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// A cookie that browsers would refuse, or that would break out of its header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetCookieError {
    /// The name is empty or has a character that names cannot have.
    #[error("cookie name {0:?} is not a token")]
    Name(String),
    /// The value has a control character or `;`.
    #[error("value of cookie '{name}' has the character {found:?}")]
    Value {
        /// The cookie's name.
        name: String,
        /// The character.
        found: char,
    },
    /// An attribute has a control character, `;`, or a character outside ASCII.
    #[error("{attribute} of cookie '{name}' has the character {found:?}")]
    Attribute {
        /// The cookie's name.
        name: String,
        /// `Domain` or `Path`.
        attribute: &'static str,
        /// The character.
        found: char,
    },
    /// The path does not begin with `/`: browsers would ignore it.
    #[error("path of cookie '{0}' must start with '/'")]
    RelativePath(String),
    /// A flag that needs `Secure`, without it.
    #[error("cookie '{name}' needs Secure because of {reason}")]
    NotSecure {
        /// The cookie's name.
        name: String,
        /// What asks for it.
        reason: &'static str,
    },
    /// A `__Host-` cookie with a domain, or with another path than `/`.
    #[error("cookie '{0}' has the prefix __Host-: expected Path=/ and no Domain")]
    HostPrefix(String),
    /// Longer than browsers keep.
    #[error(
        "cookie '{name}' has {length} bytes: expected at most {MAX_PAIR_BYTES} for name and value"
    )]
    TooLong {
        /// The cookie's name.
        name: String,
        /// Bytes of name and value together.
        length: usize,
    },
    /// The end is outside the years 1970 to 9999.
    #[error("cookie '{0}' expires outside the years 1970 to 9999")]
    Expires(String),
}

/// The longest name and value together that browsers keep (RFC 6265bis §5.6).
const MAX_PAIR_BYTES: usize = 4_096;

impl<'text> SetCookie<'text> {
    /// Returns a cookie for the whole site that lives as long as the browser's session.
    pub fn new(name: impl Into<Cow<'text, str>>, value: impl Into<Cow<'text, str>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            domain: None,
            path: Some(Cow::Borrowed("/")),
            max_age: None,
            expires: None,
            secure: false,
            http_only: false,
            same_site: None,
            partitioned: false,
        }
    }

    /// Returns the value of the `set-cookie` header.
    ///
    /// # Errors
    ///
    /// A [`SetCookieError`] for what a browser would refuse or misread: wrong characters, a broken
    /// `__Host-`/`__Secure-` promise, `SameSite=None` or `Partitioned` without `Secure`, over 4 KiB.
    pub fn to_header_value(&self) -> Result<HeaderValue, SetCookieError> {
        let name = &self.name;
        if !is_token(name) {
            return Err(SetCookieError::Name(name.clone().into_owned()));
        }
        self.check_secure()?;
        let mut text = String::with_capacity(name.len() + self.value.len() + 64);
        text.push_str(name);
        text.push('=');
        self.push_value(&mut text)?;
        if text.len() - 1 > MAX_PAIR_BYTES {
            return Err(SetCookieError::TooLong {
                name: name.clone().into_owned(),
                length: text.len() - 1,
            });
        }
        self.push_attributes(&mut text)?;
        Ok(checked_header_value(text))
    }

    fn check_secure(&self) -> Result<(), SetCookieError> {
        // RFC 6265bis §5.7: the prefixes are compared without case.
        let has_prefix = |prefix: &str| {
            let start = self.name.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let reason = match () {
            () if has_prefix("__Host-") => Some("its prefix __Host-"),
            () if has_prefix("__Secure-") => Some("its prefix __Secure-"),
            () if self.same_site == Some(SameSite::None) => Some("SameSite=None"),
            () if self.partitioned => Some("Partitioned"),
            () => None,
        };
        if let (Some(reason), false) = (reason, self.secure) {
            let name = self.name.clone().into_owned();
            return Err(SetCookieError::NotSecure { name, reason });
        }
        if has_prefix("__Host-") && (self.domain.is_some() || self.path.as_deref() != Some("/")) {
            return Err(SetCookieError::HostPrefix(self.name.clone().into_owned()));
        }
        Ok(())
    }

    fn push_value(&self, text: &mut String) -> Result<(), SetCookieError> {
        if let Some(found) = self.value.chars().find(|c| c.is_control() || *c == ';') {
            let name = self.name.clone().into_owned();
            return Err(SetCookieError::Value { name, found });
        }
        if self.value.chars().all(is_plain) {
            text.push_str(&self.value);
            return Ok(());
        }
        text.push('"');
        for byte in self.value.bytes() {
            match byte {
                b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
                // Commas split headers that a proxy has joined; other bytes may be misread.
                b',' | 0x80.. => {
                    write!(text, "\\{byte:03o}").expect("writing to a String cannot fail");
                }
                other => text.push(char::from(other)),
            }
        }
        text.push('"');
        Ok(())
    }

    fn push_attributes(&self, text: &mut String) -> Result<(), SetCookieError> {
        let mut push = |attribute: &'static str, value: &str| {
            let wrong = |c: &char| !c.is_ascii() || c.is_control() || *c == ';';
            if let Some(found) = value.chars().find(wrong) {
                let name = self.name.clone().into_owned();
                return Err(SetCookieError::Attribute {
                    name,
                    attribute,
                    found,
                });
            }
            write!(text, "; {attribute}={value}").expect("writing to a String cannot fail");
            Ok(())
        };
        if let Some(domain) = &self.domain {
            push("Domain", domain)?;
        }
        if let Some(path) = &self.path {
            if !path.starts_with('/') {
                return Err(SetCookieError::RelativePath(self.name.clone().into_owned()));
            }
            push("Path", path)?;
        }
        if let Some(max_age) = self.max_age {
            push("Max-Age", &max_age.as_secs().to_string())?;
        }
        if let Some(expires) = self.expires {
            push("Expires", &self.http_date(expires)?)?;
        }
        for (applies, attribute) in [
            (self.secure, "; Secure"),
            (self.http_only, "; HttpOnly"),
            (self.partitioned, "; Partitioned"),
        ] {
            if applies {
                text.push_str(attribute);
            }
        }
        if let Some(same_site) = self.same_site {
            text.push_str("; SameSite=");
            text.push_str(same_site.name());
        }
        Ok(())
    }

    /// `httpdate` panics outside these years.
    fn http_date(&self, moment: SystemTime) -> Result<String, SetCookieError> {
        let since_epoch = moment.duration_since(SystemTime::UNIX_EPOCH);
        match since_epoch {
            Ok(elapsed) if elapsed < YEAR_10_000 => Ok(httpdate::fmt_http_date(moment)),
            _ => Err(SetCookieError::Expires(self.name.clone().into_owned())),
        }
    }
}

fn checked_header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("control characters and non-ASCII text were refused")
}

/// The first moment, since 1970, whose year has five digits.
const YEAR_10_000: Duration = Duration::from_secs(253_402_300_800);

/// RFC 6265bis §4.1.1, `cookie-octet`.
fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | ',' | ';' | '\\')
}

#[cfg(test)]
mod tests;
