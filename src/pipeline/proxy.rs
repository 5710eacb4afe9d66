//! Trusted proxies: whose word about client, scheme and host counts (RFC 7239, and the
//! `x-forwarded-*` fields that came before it). From anybody else these fields mean nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::config::ConfigError;
use crate::message::head::{Connection, Endpoint, Head, Memo, Scheme};

/// The compiled list.
#[derive(Debug)]
pub(super) struct TrustedProxies {
    everybody: bool,
    unix: bool,
    networks: Vec<IpNet>,
}

/// What a trusted proxy says of the request; `None` where it says nothing that can be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Word {
    client: Option<SocketAddr>,
    scheme: Option<Scheme>,
    host: Option<HeaderValue>,
}

/// More hops than this are not looked at: no chain of proxies is as long.
const MAX_HOPS: usize = 64;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl TrustedProxies {
    /// Compiles the list; `None` when nobody is trusted.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] for an entry that is no address, network, `unix` or `*`.
    pub(super) fn new(entries: &[String]) -> Result<Option<Self>, ConfigError> {
        let mut proxies = Self {
            everybody: false,
            unix: false,
            networks: Vec::new(),
        };
        for entry in entries {
            match entry.as_str() {
                "*" => proxies.everybody = true,
                "unix" => proxies.unix = true,
                text => {
                    let network = text.parse::<IpNet>();
                    let network = network.or_else(|error| {
                        text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error)
                    });
                    proxies.networks.push(network.map_err(|_| {
                        let expected = "an address, a network such as '10.0.0.0/8', 'unix' or '*'";
                        ConfigError::value("trusted_proxies", format!("{text:?}"), expected)
                    })?);
                }
            }
        }
        Ok((!entries.is_empty()).then_some(proxies))
    }

    /// Replaces the connection's facts by what a trusted peer says of them.
    pub(super) fn apply(&self, head: &mut Head) {
        let is_trusted = match &head.connection.peer {
            Endpoint::Tcp(peer) => self.trusts(peer.ip()),
            Endpoint::Unix(_) => self.unix || self.everybody,
        };
        if !is_trusted {
            return;
        }
        let word = if head.headers.contains_key(FORWARDED) {
            self.forwarded(&head.headers)
        } else {
            self.x_forwarded(&head.headers)
        };
        if let Some(host) = word.host {
            head.headers.insert(HOST, host);
        }
        if word.client.is_some() || word.scheme.is_some() {
            let facts = &head.connection;
            head.connection = Arc::new(Connection {
                peer: word
                    .client
                    .map_or_else(|| facts.peer.clone(), Endpoint::Tcp),
                local: facts.local.clone(),
                scheme: word.scheme.unwrap_or(facts.scheme),
                tls: facts.tls.clone(),
                memo: Memo::default(),
            });
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.everybody
            || self
                .networks
                .iter()
                .any(|network| network.contains(&address))
    }

    fn x_forwarded(&self, headers: &HeaderMap) -> Word {
        let hops = lines_backwards(headers, &X_FORWARDED_FOR).map(node);
        let last = |name| lines_backwards(headers, name).next();
        Word {
            client: self.client(hops),
            scheme: last(&X_FORWARDED_PROTO).and_then(scheme),
            host: last(&X_FORWARDED_HOST).and_then(host),
        }
    }

    /// RFC 7239 §4: one element per proxy, the nearest one last; its `proto` and `host` are those
    /// of the request that this proxy got.
    fn forwarded(&self, headers: &HeaderMap) -> Word {
        let elements = lines_backwards(headers, &FORWARDED);
        let hops = elements.map(|element| parameter(element, "for").and_then(node));
        let nearest = lines_backwards(headers, &FORWARDED).next().unwrap_or("");
        Word {
            client: self.client(hops),
            scheme: parameter(nearest, "proto").and_then(scheme),
            host: parameter(nearest, "host").and_then(host),
        }
    }

    /// The client is the nearest hop that is not a trusted proxy itself; when all are, the first
    /// one. A hop that cannot be read ends the search without a result.
    fn client(&self, hops: impl Iterator<Item = Option<SocketAddr>>) -> Option<SocketAddr> {
        let mut client = None;
        for hop in hops.take(MAX_HOPS) {
            let hop = hop?;
            client = Some(hop);
            if self.everybody || !self.trusts(hop.ip()) {
                // With everybody trusted the nearest word is the only one that somebody vouches
                // for.
                break;
            }
        }
        client
    }
}

/// The elements of a list field, last one first.
fn lines_backwards<'head>(
    headers: &'head HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'head str> + use<'head> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or("").rsplit(','))
        .map(str::trim)
}

/// Reads `for="[2001:db8::1]:80"`; names are case-insensitive, values may be quoted.
fn parameter<'text>(element: &'text str, name: &str) -> Option<&'text str> {
    element.split(';').find_map(|pair| {
        let (own, value) = pair.split_once('=')?;
        let value = value.trim();
        let value = value
            .strip_prefix('"')
            .and_then(|v| v.strip_suffix('"'))
            .unwrap_or(value);
        own.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Reads an address with or without a port, IPv6 with or without brackets. `unknown` and the
/// hidden names of RFC 7239 §6 are none.
fn node(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let address = text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(SocketAddr::new(IpAddr::V6(address), 0))
}

fn scheme(text: &str) -> Option<Scheme> {
    if ["https", "wss"]
        .iter()
        .any(|name| text.eq_ignore_ascii_case(name))
    {
        Some(Scheme::Https)
    } else if ["http", "ws"]
        .iter()
        .any(|name| text.eq_ignore_ascii_case(name))
    {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// Reads a host that could stand in a URL.
fn host(text: &str) -> Option<HeaderValue> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    let fits = !text.is_empty() && text.len() <= 255 && text.bytes().all(is_host);
    if fits {
        HeaderValue::from_str(text).ok()
    } else {
        None
    }
}
