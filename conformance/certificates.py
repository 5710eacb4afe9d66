"""Throw-away certificates for the TLS cases: an authority, a server's and a client's certificate, made once a run."""

from __future__ import annotations

import atexit
import dataclasses
import datetime as dt
import functools
import ipaddress
import shutil
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclasses.dataclass(frozen=True)
class Chain:
    """A certificate and its key as PEM files."""

    certificate: Path
    key: Path


def server(serial: int = 1) -> Chain:
    """Return the server's certificate for localhost and 127.0.0.1; each `serial` is a different one."""
    return _issue("localhost", serial)


def client() -> Chain:
    """Return a client's certificate, signed by the same authority, whose subject is `CN=client`."""
    return _issue("client", 1)


def authority() -> Path:
    """Return the authority's certificate as a PEM file."""
    return _authority()[2]


def client_context(
    *, certificate: Chain | None = None, alpn: tuple[str, ...] = ("http/1.1",)
) -> ssl.SSLContext:
    """Return a client's context that trusts the authority."""
    context = ssl.create_default_context(cafile=str(authority()))
    context.set_alpn_protocols(list(alpn))
    if certificate:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context


@functools.cache
def _directory() -> Path:
    path = tempfile.mkdtemp(prefix="conformance-tls-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


@functools.cache
def _authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("conformance authority")
    certificate = (
        _builder(name, name, key, 1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = _directory() / "authority.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key, path


@functools.cache
def _issue(name: str, serial: int) -> Chain:
    issuer, issuer_key, _ = _authority()
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        _builder(_name(name), issuer.subject, key, serial + 1)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    chain = Chain(_directory() / f"{name}-{serial}.pem", _directory() / f"{name}-{serial}.key")
    chain.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    chain.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, serial: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
    )
