//! Allowed hosts: a request for a host that is not ours is refused before anything believes it.

use http::header::HOST;

use super::config::ConfigError;
use crate::message::head::Head;

/// The compiled list.
#[derive(Debug)]
pub(super) struct AllowedHosts {
    names: Vec<String>,
    /// Each begins with a dot.
    suffixes: Vec<String>,
}

impl AllowedHosts {
    /// Compiles the list; `None` when every host is served.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for an entry with a port, a scheme, or a star elsewhere than in `*.`.
    pub(super) fn new(entries: &[String]) -> Result<Option<Self>, ConfigError> {
        if entries.is_empty() || entries.iter().any(|entry| entry == "*") {
            return Ok(None);
        }
        let (mut names, mut suffixes) = (Vec::new(), Vec::new());
        for entry in entries {
            let lower = entry.to_ascii_lowercase();
            let (list, name) = match lower.strip_prefix("*.") {
                Some(name) => (&mut suffixes, name),
                None => (&mut names, lower.as_str()),
            };
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let is_address = name.starts_with('[') && name.ends_with(']');
            if name.is_empty() || !(is_address || name.bytes().all(is_host)) {
                let expected = "host names without port, '*.example.com', or '*'";
                return Err(ConfigError::value(
                    "allowed_hosts",
                    format!("{entry:?}"),
                    expected,
                ));
            }
            let dot = if lower.starts_with("*.") { "." } else { "" };
            list.push(format!("{dot}{name}"));
        }
        Ok(Some(Self { names, suffixes }))
    }

    /// Whether the request is for one of the hosts; the port, the case and a final dot do not
    /// matter.
    pub(super) fn allows(&self, head: &Head) -> bool {
        let field = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        // RFC 9112 §3.2.2: an absolute target's authority counts instead of the field.
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        let Some(host) = authority.or(field) else {
            return false;
        };
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.names.contains(&name)
            || self
                .suffixes
                .iter()
                .any(|suffix| name.ends_with(suffix.as_str()))
    }
}

fn without_port(host: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        // In `[::1]` the last colon is the address's own.
        Some((name, port)) if is_port(port) && !name.ends_with(':') => name,
        _ => host,
    }
}
