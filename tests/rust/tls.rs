//! TLS through its front door, [`spikard::server::tls::TlsAcceptor`], over an in-memory pipe, with
//! certificates made on the spot and keys as `openssl` writes them (tests/rust/tls/*.pem).

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use spikard::server::limits::HttpVersions;
use spikard::server::tls::{
    Accepted, Certificate, ClientCert, HandshakeError, MinVersion, Protocol, TlsAcceptor,
    TlsConfig, TlsError,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const EC_PKCS8: &str = include_str!("tls/ec-pkcs8.pem");
const EC_SEC1: &str = include_str!("tls/ec-sec1.pem");
const EC_PBES2: &str = include_str!("tls/ec-pbes2.pem");
const EC_PBES2_SCRYPT: &str = include_str!("tls/ec-pbes2-scrypt.pem");
const EC_LEGACY: &str = include_str!("tls/ec-legacy.pem");
const RSA_PKCS8: &str = include_str!("tls/rsa-pkcs8.pem");
const RSA_PKCS1: &str = include_str!("tls/rsa-pkcs1.pem");

const PATIENCE: Duration = Duration::from_secs(10);

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, test)
            .await
            .expect("the test hangs");
    });
}

/// Files of one test.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A self-signed certificate for `names` with the key in `pkcs8`; also returns it as PEM.
    fn config(&self, pkcs8: &str, names: &[&str]) -> (TlsConfig, String) {
        let certificate = self_signed(pkcs8, names);
        let config = TlsConfig {
            certfile: self.write("cert.pem", &certificate),
            keyfile: self.write("key.pem", pkcs8),
            key_password: None,
            client_ca: None,
            client_cert: ClientCert::None,
            min_version: MinVersion::Tls12,
            certificates: Vec::new(),
        };
        (config, certificate)
    }
}

fn self_signed(pkcs8: &str, names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::from_pem(pkcs8).unwrap();
    let params = CertificateParams::new(names).unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn acceptor(config: TlsConfig) -> Result<TlsAcceptor, TlsError> {
    TlsAcceptor::new(config, HttpVersions::Auto, PATIENCE)
}

/// How a client behaves.
struct Client {
    trusts: Vec<String>,
    /// Certificate and key to show.
    shows: Option<(String, String)>,
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: &'static [&'static [u8]],
    name: &'static str,
}

const ALL_VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];

impl Client {
    fn trusting(certificate: &str) -> Self {
        Self {
            trusts: vec![certificate.to_owned()],
            shows: None,
            versions: ALL_VERSIONS,
            alpn: &[],
            name: "localhost",
        }
    }

    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for pem in &self.trusts {
            roots
                .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                .unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// Does the handshake with `acceptor`; both sides' outcomes.
    async fn meet(
        &self,
        acceptor: &TlsAcceptor,
    ) -> (
        Result<Accepted<DuplexStream>, HandshakeError>,
        std::io::Result<TlsStream<DuplexStream>>,
    ) {
        let (ours, theirs) = duplex(64 * 1024);
        let connector = TlsConnector::from(Arc::new(self.config()));
        let name = ServerName::try_from(self.name).unwrap();
        tokio::join!(acceptor.accept(ours), connector.connect(name, theirs))
    }
}

#[test]
fn bytes_go_both_ways_and_the_facts_are_known() {
    run(async {
        let files = Files::new();
        let (config, certificate) = files.config(EC_PKCS8, &["localhost"]);
        let acceptor = acceptor(config).unwrap();
        let (versions, numbers) = ([ALL_VERSIONS, ONLY_12], [0x0304, 0x0303]);
        for (versions, number) in versions.into_iter().zip(numbers) {
            let client = Client {
                versions,
                ..Client::trusting(&certificate)
            };
            let (accepted, connected) = client.meet(&acceptor).await;
            let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
            connected.write_all(b"ping").await.unwrap();
            connected.flush().await.unwrap();
            let mut buffer = [0; 4];
            accepted.stream.read_exact(&mut buffer).await.unwrap();
            assert_eq!(&buffer, b"ping");
            let suite = connected.get_ref().1.negotiated_cipher_suite().unwrap();
            assert_eq!(accepted.tls.version, number);
            assert_eq!(accepted.tls.cipher_suite, u16::from(suite.suite()));
            assert_eq!(accepted.tls.client_cert_chain, Vec::<String>::new());
            assert_eq!(accepted.tls.client_cert_name, None);
            let shown = accepted.tls.server_cert.unwrap();
            assert_eq!(
                CertificateDer::from_pem_slice(shown.as_bytes()).unwrap(),
                CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
            );
        }
    });
}

#[test]
fn alpn_settles_the_protocol() {
    const H2: &[u8] = b"h2";
    const HTTP1: &[u8] = b"http/1.1";
    // what we speak, what the client offers, what is settled; `None` for no connection
    type Offer = (
        HttpVersions,
        &'static [&'static [u8]],
        Option<Option<Protocol>>,
    );
    let offers: [Offer; 7] = [
        (
            HttpVersions::Auto,
            &[HTTP1, H2],
            Some(Some(Protocol::Http2)),
        ),
        (HttpVersions::Auto, &[HTTP1], Some(Some(Protocol::Http1))),
        (HttpVersions::Auto, &[], Some(None)),
        (
            HttpVersions::Http1,
            &[H2, HTTP1],
            Some(Some(Protocol::Http1)),
        ),
        (
            HttpVersions::Http2,
            &[H2, HTTP1],
            Some(Some(Protocol::Http2)),
        ),
        (HttpVersions::Http2, &[HTTP1], None),
        (HttpVersions::Auto, &[b"spdy/3"], None),
    ];
    for (mode, alpn, expected) in offers {
        run(async move {
            let files = Files::new();
            let (config, certificate) = files.config(EC_PKCS8, &["localhost"]);
            let acceptor = TlsAcceptor::new(config, mode, PATIENCE).unwrap();
            let client = Client {
                alpn,
                ..Client::trusting(&certificate)
            };
            let (accepted, connected) = client.meet(&acceptor).await;
            let settled = accepted.ok().map(|accepted| accepted.protocol);
            assert_eq!(settled, expected, "{mode:?} {alpn:?}");
            assert_eq!(connected.is_ok(), expected.is_some(), "{mode:?} {alpn:?}");
        });
    }
}

#[test]
fn keys_of_every_form_are_read() {
    // name, key as PKCS#8 for the certificate, key file, password
    for (name, pkcs8, key, password) in [
        ("EC PKCS#8", EC_PKCS8, EC_PKCS8, None),
        ("EC SEC1", EC_PKCS8, EC_SEC1, None),
        ("EC PBES2", EC_PKCS8, EC_PBES2, Some("secret")),
        ("EC PBES2 scrypt", EC_PKCS8, EC_PBES2_SCRYPT, Some("secret")),
        ("RSA PKCS#8", RSA_PKCS8, RSA_PKCS8, None),
        ("RSA PKCS#1", RSA_PKCS8, RSA_PKCS1, None),
        ("a password too many", EC_PKCS8, EC_PKCS8, Some("secret")),
    ] {
        run(async move {
            let files = Files::new();
            let (mut config, certificate) = files.config(pkcs8, &["localhost"]);
            config.keyfile = files.write("key.pem", key);
            config.key_password = password.map(str::to_owned);
            let acceptor = acceptor(config).unwrap_or_else(|error| panic!("{name}: {error}"));
            let (accepted, connected) = Client::trusting(&certificate).meet(&acceptor).await;
            assert!(accepted.is_ok() && connected.is_ok(), "{name}");
        });
    }
}

#[test]
fn an_error_names_the_file_and_what_was_expected() {
    type Change = fn(&Files, &mut TlsConfig);
    let cases: [(&str, Change, &[&str]); 12] = [
        (
            "no certificate file",
            |_, config| config.certfile = "/nowhere/cert.pem".into(),
            &["cannot read /nowhere/cert.pem"],
        ),
        (
            "no key file",
            |_, config| config.keyfile = "/nowhere/key.pem".into(),
            &["cannot read /nowhere/key.pem"],
        ),
        (
            "a key instead of a certificate",
            |files, config| config.certfile = files.write("x.pem", EC_PKCS8),
            &["x.pem", "section CERTIFICATE", "found PRIVATE KEY"],
        ),
        (
            "a certificate that is not one",
            |files, config| {
                let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
                config.certfile = files.write("x.pem", text);
            },
            &["x.pem: expected an X.509 certificate"],
        ),
        (
            "no PEM at all",
            |files, config| config.keyfile = files.write("x.pem", "hello"),
            &["x.pem", "section PRIVATE KEY", "found no PEM section"],
        ),
        (
            "a broken key",
            |files, config| {
                let text = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
                config.keyfile = files.write("x.pem", text);
            },
            &["x.pem: expected an RSA, ECDSA or Ed25519 key"],
        ),
        (
            "another key",
            |files, config| config.keyfile = files.write("x.pem", RSA_PKCS1),
            &["x.pem does not hold the key", "cert.pem"],
        ),
        (
            "no password",
            |files, config| config.keyfile = files.write("x.pem", EC_PBES2),
            &["x.pem: expected key_password", "no password"],
        ),
        (
            "a wrong password",
            |files, config| {
                config.keyfile = files.write("x.pem", EC_PBES2);
                config.key_password = Some("wrong".to_owned());
            },
            &["x.pem: expected a key that key_password decrypts"],
        ),
        (
            "legacy encryption",
            |files, config| {
                config.keyfile = files.write("x.pem", EC_LEGACY);
                config.key_password = Some("secret".to_owned());
            },
            &["x.pem", "PKCS#8", "legacy PEM encryption"],
        ),
        (
            "client certificates from nobody",
            |_, config| config.client_cert = ClientCert::Required,
            &["client_ca"],
        ),
        (
            "authorities for nothing",
            |_, config| config.client_ca = Some(config.certfile.clone()),
            &["client_ca is set", "client_cert"],
        ),
    ];
    for (name, change, parts) in cases {
        let files = Files::new();
        let (mut config, _) = files.config(EC_PKCS8, &["localhost"]);
        change(&files, &mut config);
        let error = acceptor(config).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{name}: {error}");
        }
        assert!(!error.contains("secret"), "{name}: {error}");
    }
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    run(async {
        let files = Files::new();
        let (mut config, first) = files.config(EC_PKCS8, &["localhost"]);
        let mut further = Vec::new();
        for (number, names) in [["*.example.org"], ["exact.example.org"]]
            .iter()
            .enumerate()
        {
            let key = KeyPair::generate().unwrap().serialize_pem();
            let certificate = self_signed(&key, names);
            config.certificates.push(Certificate {
                certfile: files.write(&format!("cert{number}.pem"), &certificate),
                keyfile: files.write(&format!("key{number}.pem"), &key),
                key_password: None,
            });
            further.push(certificate);
        }
        let acceptor = acceptor(config).unwrap();
        for (name, certificate) in [
            ("localhost", &first),
            ("a.example.org", &further[0]),
            ("EXACT.example.org", &further[1]),
        ] {
            let client = Client {
                name,
                ..Client::trusting(certificate)
            };
            let (accepted, connected) = client.meet(&acceptor).await;
            let (accepted, _) = (accepted.unwrap(), connected.unwrap());
            let shown = accepted.tls.server_cert.unwrap();
            assert_eq!(
                CertificateDer::from_pem_slice(shown.as_bytes()).unwrap(),
                CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap(),
                "{name}"
            );
        }
        let unknown = Client {
            name: "other.org",
            ..Client::trusting(&first)
        };
        let (_, connected) = unknown.meet(&acceptor).await;
        let error = connected.unwrap_err().to_string();
        assert!(error.contains("NotValidForName") || error.contains("not valid for name"));
    });
}

/// An authority and what it signs for clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Test authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A client certificate and its key.
    fn client(&self, last_year: i32) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "SE");
        name.push(DnType::OrganizationName, "Spikes, Inc.");
        name.push(DnType::CommonName, "client 1");
        name.push(DnType::from_oid(&[1, 2, 3, 4]), "x");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[test]
fn client_certificates_are_verified() {
    let authority = Authority::new();
    let good = authority.client(2100);
    let expired = authority.client(2001);
    let foreign = Authority::new().client(2100);
    let (optional, required) = (ClientCert::Optional, ClientCert::Required);
    for (name, asked, shown, accepted) in [
        ("required, good", required, Some(&good), true),
        ("required, none", required, None, false),
        ("required, expired", required, Some(&expired), false),
        ("required, foreign", required, Some(&foreign), false),
        ("optional, good", optional, Some(&good), true),
        ("optional, none", optional, None, true),
        ("optional, foreign", optional, Some(&foreign), false),
        ("not asked, good", ClientCert::None, Some(&good), true),
    ] {
        let authority = &authority;
        run(async move {
            let files = Files::new();
            let (mut config, certificate) = files.config(EC_PKCS8, &["localhost"]);
            config.client_cert = asked;
            if asked != ClientCert::None {
                config.client_ca = Some(files.write("ca.pem", &authority.0.pem()));
            }
            let acceptor = acceptor(config).unwrap();
            let client = Client {
                shows: shown.cloned(),
                ..Client::trusting(&certificate)
            };
            let (outcome, _) = client.meet(&acceptor).await;
            assert_eq!(outcome.is_ok(), accepted, "{name}: {:?}", outcome.err());
            let Ok(outcome) = outcome else { return };
            let known = shown.filter(|_| asked != ClientCert::None);
            let subject =
                known.map(|_| "1.2.3.4=#0c0178,CN=client 1,O=Spikes\\, Inc.,C=SE".to_owned());
            assert_eq!(outcome.tls.client_cert_name, subject, "{name}");
            let chain: Vec<_> = outcome
                .tls
                .client_cert_chain
                .iter()
                .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                .collect();
            let shown: Vec<_> = known
                .iter()
                .map(|(pem, _)| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                .collect();
            assert_eq!(chain, shown, "{name}");
        });
    }
}

#[test]
fn a_reload_is_for_new_connections_and_a_broken_one_for_none() {
    run(async {
        let files = Files::new();
        let (config, first) = files.config(EC_PKCS8, &["localhost"]);
        let (certfile, keyfile) = (config.certfile.clone(), config.keyfile.clone());
        let acceptor = acceptor(config).unwrap();
        let (old, _old_client) = Client::trusting(&first).meet(&acceptor).await;
        let mut old = old.unwrap();

        std::fs::write(&certfile, "broken").unwrap();
        acceptor.reload().unwrap_err();
        let (accepted, connected) = Client::trusting(&first).meet(&acceptor).await;
        assert!(accepted.is_ok() && connected.is_ok());

        let second = self_signed(RSA_PKCS8, &["localhost"]);
        std::fs::write(&certfile, &second).unwrap();
        acceptor.reload().unwrap_err();
        std::fs::write(&keyfile, RSA_PKCS8).unwrap();
        acceptor.reload().unwrap();
        let (accepted, connected) = Client::trusting(&second).meet(&acceptor).await;
        assert!(accepted.is_ok() && connected.is_ok());
        let (_, connected) = Client::trusting(&first).meet(&acceptor).await;
        assert!(connected.is_err());

        old.stream.write_all(b"still here").await.unwrap();
    });
}

#[test]
fn versions_below_the_minimum_are_refused() {
    run(async {
        let files = Files::new();
        let (mut config, certificate) = files.config(EC_PKCS8, &["localhost"]);
        config.min_version = MinVersion::Tls13;
        let acceptor = acceptor(config).unwrap();
        let old = Client {
            versions: ONLY_12,
            ..Client::trusting(&certificate)
        };
        let (accepted, connected) = old.meet(&acceptor).await;
        assert!(accepted.is_err());
        let error = connected.err().unwrap().to_string();
        assert!(error.contains("ProtocolVersion"), "{error}");
    });
}

/// What a client that speaks raw bytes gets back before the connection is closed.
async fn say(acceptor: &TlsAcceptor, bytes: &[u8]) -> Vec<u8> {
    let (ours, mut theirs) = duplex(64 * 1024);
    theirs.write_all(bytes).await.unwrap();
    acceptor.accept(ours).await.unwrap_err();
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    answer
}

/// A `ClientHello` that knows no extension and only `version`.
fn hello(version: u16) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2f, 0x00, 0x2f, 1, 0]);
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut record = vec![22, 3, 1];
    record.extend((u16::try_from(body.len()).unwrap() + 4).to_be_bytes());
    record.extend([1, 0, length[0], length[1]]);
    record.extend(body);
    record
}

#[test]
fn what_is_not_a_tls_client_gets_an_alert_at_most_t01() {
    run(async {
        let files = Files::new();
        let (config, _) = files.config(EC_PKCS8, &["localhost"]);
        let acceptor = acceptor(config).unwrap();
        let sslv2 = [&[0x80, 0x2e, 1, 0, 2, 0, 5, 0, 0, 0, 16][..], &[1; 37]].concat();
        for (name, bytes) in [
            ("TLS 1.0", hello(0x0301)),
            ("TLS 1.1", hello(0x0302)),
            ("SSLv3", hello(0x0300)),
            ("SSLv2", sslv2),
            ("HTTP", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("zeros", vec![0; 100]),
            ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ] {
            let answer = say(&acceptor, &bytes).await;
            let alert = answer.first() == Some(&21) && answer.len() == 7;
            assert!(answer.is_empty() || alert, "{name}: {answer:?}");
        }
    });
}

#[test]
fn a_handshake_that_stalls_is_given_up_b10() {
    run(async {
        let files = Files::new();
        let (config, _) = files.config(EC_PKCS8, &["localhost"]);
        let patience = Duration::from_millis(20);
        let acceptor = TlsAcceptor::new(config, HttpVersions::Auto, patience).unwrap();
        for bytes in [&[][..], &hello(0x0303)[..6]] {
            let (ours, mut theirs) = duplex(1024);
            theirs.write_all(bytes).await.unwrap();
            let outcome = acceptor.accept(ours).await;
            assert!(matches!(outcome, Err(HandshakeError::TimedOut)));
        }
    });
}

#[test]
fn the_configuration_is_read_from_json_and_hides_passwords() {
    let full = r#"{"certfile": "c", "keyfile": "k", "key_password": "secret", "client_ca": "a",
        "client_cert": "optional", "min_version": "1.3",
        "certificates": [{"certfile": "c2", "keyfile": "k2", "key_password": "secret"}]}"#;
    let config: TlsConfig = serde_json::from_str(full).unwrap();
    assert_eq!(config.client_cert, ClientCert::Optional);
    assert_eq!(config.min_version, MinVersion::Tls13);
    assert_eq!(config.certificates[0].certfile, Path::new("c2"));
    assert!(!format!("{config:?}").contains("secret"));
    let server = r#"{"tls": null, "http": "2", "tls_handshake_timeout": 1}"#;
    assert!(TlsAcceptor::from_json(server.as_bytes()).unwrap().is_none());
    let server = format!(r#"{{"tls": {full}}}"#);
    let error = TlsAcceptor::from_json(server.as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::Read { .. }), "{error}");
    for (wrong, expected) in [
        (r#"{"certfile": "c"}"#, "keyfile"),
        (
            r#"{"certfile": "c", "keyfile": "k", "min_version": "1.1"}"#,
            "1.2",
        ),
        (
            r#"{"certfile": "c", "keyfile": "k", "client_cert": "yes"}"#,
            "required",
        ),
        (r#"{"certfile": "c", "keyfile": "k", "typo": 1}"#, "typo"),
    ] {
        let error = serde_json::from_str::<TlsConfig>(wrong).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
