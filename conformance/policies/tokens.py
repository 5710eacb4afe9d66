"""Tokens (RFC 7515, RFC 7519) in every shape that a client may send, and the keys of the profiles."""

from __future__ import annotations

import base64
import functools
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SECRET = "a secret of the policies' suite, long enough"  # noqa: S105 - it guards nothing
AUDIENCE = "api"
ISSUER = "https://issuer.example"
LIFETIME_SECONDS = 3600


def part(value: Any) -> str:
    """Return one part of a token: bytes or JSON in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Return claims that the profile `jwt` accepts, with changes; None takes a claim out."""
    made = {
        "sub": "alice",
        "aud": AUDIENCE,
        "iss": ISSUER,
        "exp": int(time.time()) + LIFETIME_SECONDS,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def signed(
    payload: Any = None, head: dict[str, Any] | None = None, secret: str | bytes = SECRET
) -> str:
    """Return a token signed with HS256, whatever its head says."""
    text = part(head or {"alg": "HS256", "typ": "JWT"}) + "." + part(payload or claims())
    key = secret.encode() if isinstance(secret, str) else secret
    return text + "." + part(hmac.digest(key, text.encode(), "sha256"))


def bearer(token: str) -> str:
    """Return the header line of a token."""
    return f"Authorization: Bearer {token}"


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Return the key of the profile `rs256`."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem() -> str:
    """Return the public half of `rsa_key`."""
    return (
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def rsa_signed(payload: Any = None, algorithm: str = "RS256") -> str:
    """Return a token signed with `rsa_key`."""
    text = part({"alg": algorithm}) + "." + part(payload or claims())
    signature = rsa_key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return text + "." + part(signature)


@functools.cache
def ec_key(kid: str) -> ec.EllipticCurvePrivateKey:
    """Return one of the keys that the profile `jwks` chooses among by `kid`."""
    del kid
    return ec.generate_private_key(ec.SECP256R1())


def ec_signed(kid: str | None, signer: str, payload: Any = None) -> str:
    """Return an ES256 token that names `kid` and is signed with the key of `signer`."""
    head = {"alg": "ES256"} if kid is None else {"alg": "ES256", "kid": kid}
    text = part(head) + "." + part(payload or claims())
    r, s = decode_dss_signature(ec_key(signer).sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return text + "." + part(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def jwks(*kids: str) -> str:
    """Return a JWK Set (RFC 7517) of these keys, with one for another purpose between them."""

    def number(value: int) -> str:
        return part(value.to_bytes(32, "big"))

    keys: list[dict[str, Any]] = []
    for kid in kids:
        public = ec_key(kid).public_key().public_numbers()
        keys.append(
            {"kty": "EC", "crv": "P-256", "kid": kid, "x": number(public.x), "y": number(public.y)}
        )
    keys.insert(1, {"kty": "oct", "kid": "shared", "k": part(b"x" * 32), "alg": "HS256"})
    return json.dumps({"keys": keys})
