//! Certificates and keys in PEM files (RFC 7468).

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::{Certificate, TlsError};

const A_CERTIFICATE: &str = "at least one PEM section CERTIFICATE";
const A_KEY: &str =
    "one PEM section PRIVATE KEY, ENCRYPTED PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY";

/// Reads a chain and its key, and makes sure that they are a pair; also returns the leaf.
pub(super) fn certified_key(
    files: &Certificate,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, CertificateDer<'static>), TlsError> {
    let chain = certificates(&files.certfile)?;
    let leaf = chain[0].clone();
    let key = private_key(&files.keyfile, files.key_password.as_deref())?;
    let pair = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::NotAPair {
            certfile: files.certfile.clone(),
            keyfile: files.keyfile.clone(),
        },
        rustls::Error::InvalidCertificate(error) => {
            content(&files.certfile, "an X.509 certificate", error.to_string())
        }
        error => content(
            &files.keyfile,
            "an RSA, ECDSA or Ed25519 key",
            error.to_string(),
        ),
    })?;
    Ok((pair, leaf))
}

/// Reads a file's certificates, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(content(path, A_CERTIFICATE, sections(&text)))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(content(path, A_CERTIFICATE, error.to_string())),
    }
}

/// A certificate as PEM.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let encoded = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn private_key(path: &Path, password: Option<&str>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let labels = labels(&text);
    if labels.iter().any(|label| label == "ENCRYPTED PRIVATE KEY") {
        return decrypted(path, &text, password);
    }
    // RFC 1421 §4.6.1.1: the old way, whose key derivation is one round of MD5
    if memchr::memmem::find(&text, b"Proc-Type: 4,ENCRYPTED").is_some() {
        return Err(content(
            path,
            "a key encrypted as PKCS#8 (convert it: openssl pkcs8 -topk8)",
            "a key in the legacy PEM encryption".to_owned(),
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => content(path, A_KEY, sections(&text)),
        error => content(path, A_KEY, error.to_string()),
    })
}

fn decrypted(
    path: &Path,
    text: &[u8],
    password: Option<&str>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let password = password.ok_or_else(|| {
        let found = "an encrypted key and no password".to_owned();
        content(path, "key_password", found)
    })?;
    let refused = |error: String| content(path, "a key in PKCS#8 encryption (PBES2)", error);
    let text = std::str::from_utf8(text).map_err(|error| refused(error.to_string()))?;
    let begin = text
        .find("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        .ok_or_else(|| refused("no such section".to_owned()))?;
    let (_, document) =
        SecretDocument::from_pem(&text[begin..]).map_err(|error| refused(error.to_string()))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| refused(error.to_string()))?;
    let key = encrypted.decrypt(password).map_err(|error| {
        let found = format!("another password, or an unknown cipher ({error})");
        content(path, "a key that key_password decrypts", found)
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The kinds of sections in a file, without their contents, which may be secret.
fn labels(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let label = line.trim().strip_prefix("-----BEGIN ")?;
            Some(label.strip_suffix("-----")?.to_owned())
        })
        .collect()
}

fn sections(text: &[u8]) -> String {
    let labels = labels(text);
    if labels.is_empty() {
        "no PEM section".to_owned()
    } else {
        labels.join(", ")
    }
}

fn content(path: &Path, expected: &'static str, found: String) -> TlsError {
    TlsError::Content {
        path: PathBuf::from(path),
        expected,
        found,
    }
}
