//! TLS (RFC 8446, RFC 5246) by rustls: certificates by name, client certificates, reload.

mod files;
mod name;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, ClientHello, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::limits::{HttpVersions, seconds};
use crate::message::head::Tls;

/// Where the certificates are and what is asked of clients.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate chain (PEM), leaf first.
    pub certfile: PathBuf,
    /// Its private key (PEM): PKCS#8, encrypted or not, PKCS#1 or SEC1.
    pub keyfile: PathBuf,
    /// The password of an encrypted key.
    #[serde(default)]
    pub key_password: Option<String>,
    /// Certificate authorities (PEM) that client certificates must come from.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    #[serde(default)]
    pub client_cert: ClientCert,
    /// The oldest version that is spoken.
    #[serde(default)]
    pub min_version: MinVersion,
    /// Further certificates; a client that asks for one of their names gets them.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
}

/// One further certificate.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Certificate chain (PEM), leaf first.
    pub certfile: PathBuf,
    /// Its private key (PEM).
    pub keyfile: PathBuf,
    /// The password of an encrypted key.
    #[serde(default)]
    pub key_password: Option<String>,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientCert {
    /// They are not asked.
    #[default]
    None,
    /// They may; one that is shown must be valid.
    Optional,
    /// They must.
    Required,
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// The version of HTTP that ALPN settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has something else in it than it should have.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What is in it.
        found: String,
    },
    /// Certificate and key are not a pair.
    #[error("{} does not hold the key of the certificate in {}", keyfile.display(), certfile.display())]
    NotAPair {
        /// The certificate.
        certfile: PathBuf,
        /// The key.
        keyfile: PathBuf,
    },
    /// The configuration cannot be read.
    #[error("tls: {0}")]
    Config(#[from] serde_json::Error),
    /// Clients shall show certificates, but nothing says from whom.
    #[error("client_cert is set: expected client_ca with the authorities to trust, found none")]
    NoClientCa,
    /// Authorities for client certificates that nobody asks for.
    #[error("client_ca is set: expected client_cert \"optional\" or \"required\", found \"none\"")]
    UnusedClientCa,
}

/// Why a connection did not become a TLS connection.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The client took too long.
    #[error("the TLS handshake was not finished in time")]
    TimedOut,
    /// The client, or its certificate, was refused, or it went away.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted<IO> {
    /// The plaintext.
    pub stream: TlsStream<IO>,
    /// What was settled.
    pub tls: Tls,
    /// What ALPN settled; `None` when the client did not offer anything.
    pub protocol: Option<Protocol>,
}

/// Turns connections into TLS connections.
pub struct TlsAcceptor {
    config: TlsConfig,
    versions: HttpVersions,
    handshake_timeout: Duration,
    identities: RefCell<Rc<[Identity]>>,
}

/// What of `ServerConfig` is about TLS.
#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    tls: Option<TlsConfig>,
    http: HttpVersions,
    #[serde(deserialize_with = "seconds")]
    tls_handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: None,
            http: HttpVersions::Auto,
            tls_handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl TlsAcceptor {
    /// Reads a server's configuration, a JSON object, and the files that its `tls` names; `None`
    /// when there is no `tls`.
    ///
    /// # Errors
    /// As [`TlsAcceptor::new`], and a configuration that is none.
    pub fn from_json(json: &[u8]) -> Result<Option<Self>, TlsError> {
        let settings: Settings = serde_json::from_slice(json)?;
        settings
            .tls
            .map(|config| Self::new(config, settings.http, settings.tls_handshake_timeout))
            .transpose()
    }

    /// Reads the files that `config` names; `handshake_timeout` is for the whole handshake.
    ///
    /// # Errors
    /// A file that is missing, unreadable, or not what it should be.
    pub fn new(
        config: TlsConfig,
        versions: HttpVersions,
        handshake_timeout: Duration,
    ) -> Result<Self, TlsError> {
        let identities = load(&config, versions)?;
        Ok(Self {
            config,
            versions,
            handshake_timeout,
            identities: RefCell::new(identities),
        })
    }

    /// Reads the files again, for the connections that are accepted from now on.
    ///
    /// # Errors
    /// As [`TlsAcceptor::new`]; what was read before stays in force then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let identities = load(&self.config, self.versions)?;
        self.identities.replace(identities);
        Ok(())
    }

    /// Does the handshake. Cancel safe: the connection is dropped.
    ///
    /// # Errors
    /// A client that takes too long, goes away or cannot be agreed with; it has been sent the
    /// alert that says so.
    pub async fn accept<IO>(&self, io: IO) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(self.handshake_timeout, self.handshake(io)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(HandshakeError::TimedOut),
        }
    }

    async fn handshake<IO>(&self, io: IO) -> io::Result<Accepted<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        let identities = Rc::clone(&self.identities.borrow());
        let identity = choose(&identities, &start.client_hello());
        let stream = start.into_stream(Arc::clone(&identity.config)).await?;
        let connection = stream.get_ref().1;
        let chain = connection.peer_certificates().unwrap_or_default();
        let tls = Tls {
            server_cert: Some(Arc::clone(&identity.pem)),
            client_cert_chain: chain.iter().map(|cert| files::to_pem(cert)).collect(),
            client_cert_name: chain.first().and_then(|cert| name::subject(cert)),
            version: connection.protocol_version().map_or(0, u16::from),
            cipher_suite: connection
                .negotiated_cipher_suite()
                .map_or(0, |suite| suite.suite().into()),
        };
        let protocol = match connection.alpn_protocol() {
            Some(H2) => Some(Protocol::Http2),
            Some(_) => Some(Protocol::Http1),
            None => None,
        };
        Ok(Accepted {
            stream,
            tls,
            protocol,
        })
    }
}

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// One certificate and the whole configuration of the connections that show it: in this way it
/// is known which one was shown.
struct Identity {
    key: Arc<CertifiedKey>,
    /// DNS names in lower case, perhaps with `*` as their first label.
    names: Vec<String>,
    /// The leaf.
    pem: Arc<str>,
    config: Arc<ServerConfig>,
}

/// The identity for a client: by the name that it asks for, the exact one before a wildcard, and
/// by the signatures that it understands; else the first.
fn choose<'a>(identities: &'a [Identity], hello: &ClientHello<'_>) -> &'a Identity {
    let asked = hello.server_name().map(str::to_ascii_lowercase);
    let rank = |identity: &&Identity| {
        let names = identity.names.iter();
        let by_name = asked
            .as_deref()
            .and_then(|asked| names.filter_map(|name| name::rank(name, asked)).min());
        let understood = identity
            .key
            .key
            .choose_scheme(hello.signature_schemes())
            .is_some();
        (by_name.unwrap_or(u8::MAX), !understood)
    };
    identities
        .iter()
        .min_by_key(rank)
        .expect("there is always the first certificate")
}

fn load(config: &TlsConfig, versions: HttpVersions) -> Result<Rc<[Identity]>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verifier(config, &provider)?;
    let first = Certificate {
        certfile: config.certfile.clone(),
        keyfile: config.keyfile.clone(),
        key_password: config.key_password.clone(),
    };
    std::iter::once(&first)
        .chain(&config.certificates)
        .map(|certificate| {
            let (key, leaf) = files::certified_key(certificate, &provider)?;
            let key = Arc::new(key);
            let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(tls_versions(config.min_version))
                .expect("the provider speaks TLS 1.2 and 1.3")
                .with_client_cert_verifier(Arc::clone(&verifier))
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&key))));
            let offered: &[&[u8]] = match versions {
                HttpVersions::Auto => &[H2, HTTP1],
                HttpVersions::Http1 => &[HTTP1],
                HttpVersions::Http2 => &[H2],
            };
            server.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
            Ok(Identity {
                names: name::dns_names(&leaf),
                pem: files::to_pem(&leaf).into(),
                key,
                config: Arc::new(server),
            })
        })
        .collect()
}

fn tls_versions(oldest: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match oldest {
        MinVersion::Tls12 => &NEWEST_FIRST,
        MinVersion::Tls13 => &NEWEST_FIRST[..1],
    }
}

fn verifier(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let path = match (config.client_cert, &config.client_ca) {
        (ClientCert::None, None) => return Ok(WebPkiClientVerifier::no_client_auth()),
        (ClientCert::None, Some(_)) => return Err(TlsError::UnusedClientCa),
        (ClientCert::Optional | ClientCert::Required, None) => return Err(TlsError::NoClientCa),
        (ClientCert::Optional | ClientCert::Required, Some(path)) => path,
    };
    let refused = |found: String| TlsError::Content {
        path: path.clone(),
        expected: "certificates of authorities",
        found,
    };
    let mut roots = RootCertStore::empty();
    for certificate in files::certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| refused(error.to_string()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match config.client_cert {
        ClientCert::Required => builder,
        ClientCert::None | ClientCert::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| refused(error.to_string()))
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor")
            .field("config", &self.config)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("certfile", &self.certfile)
            .field("keyfile", &self.keyfile)
            .field("client_ca", &self.client_ca)
            .field("client_cert", &self.client_cert)
            .field("min_version", &self.min_version)
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("certfile", &self.certfile)
            .field("keyfile", &self.keyfile)
            .finish_non_exhaustive()
    }
}
