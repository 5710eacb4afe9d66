"""Groups J and K: tokens and API keys that must not pass, and what those hear who show them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from conformance.case import MUST
from conformance.policies import tokens
from conformance.policies.application import HASHED_KEY, KEY, TEXT
from conformance.policies.suite import SUITE, Line, profile, says, table
from conformance.policies.tokens import SECRET, bearer, claims, part, rsa_signed, signed
from conformance.verdict import check, equal, eventually

if TYPE_CHECKING:
    from conformance.client import Response
    from conformance.trial import Trial

JWT = profile("jwt")
FAILED = "JWT validation failed"
INVALID, SIGNATURE = "Token is invalid", "Token signature is invalid"
AUDIENCE = "Token audience is invalid"
ISSUER = "Token issuer is invalid, expected 'https://issuer.example'"
EXPIRED = "Token has expired"
NOT_YET = "JWT not valid yet, not before claim is in the future"


def unsigned(head: dict[str, Any], signature: bytes = b"") -> str:
    """Return a token with a signature that nobody made."""
    return f"{part(head)}.{part(claims())}.{part(signature)}"


def nested(depth: int) -> bytes:
    """Return claims with a list nested that deep."""
    return json.dumps(claims()).encode()[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"


def twice(name: str, value: Any) -> bytes:
    """Return claims in which a name comes twice."""
    return json.dumps(claims()).encode()[:-1] + f', "{name}": {json.dumps(value)}}}'.encode()


def _good() -> str:
    return signed()


NOW = int(time.time())
LATER, BEFORE = NOW + 3600, NOW - 3600

# id, token, detail of the 401
REFUSED: list[tuple[str, str, str]] = [
    *(
        (f"J01-{alg}", unsigned({"alg": alg}), INVALID)
        for alg in ("none", "None", "nOnE", "NONE", "")
    ),
    ("J01-signed", signed(head={"alg": "none"}), INVALID),
    ("J01-empty", unsigned({"alg": "HS256"}), SIGNATURE),
    ("J01-short", unsigned({"alg": "HS256"}, b"\0" * 16), SIGNATURE),
    ("J01-missing", signed(head={"typ": "JWT"}), INVALID),
    ("J01-number", signed(head={"alg": 1}), INVALID),
    ("J02-rs", rsa_signed(), INVALID),
    ("J02-hs512", signed(head={"alg": "HS512"}), INVALID),
    ("J02-case", signed(head={"alg": "hs256"}), INVALID),
    ("J03-secret", signed(secret=SECRET.upper()), SIGNATURE),
    ("J03-empty-secret", signed(secret=""), SIGNATURE),
    ("J04-expired", signed(claims(exp=BEFORE)), EXPIRED),
    ("J04-missing", signed(claims(exp=None)), INVALID),
    ("J04-text", signed(claims(exp=str(LATER))), INVALID),
    ("J04-null", signed({**claims(), "exp": None}), INVALID),
    (
        "J04-huge",
        signed(json.dumps(claims()).encode().replace(b'"exp": ', b'"exp": 1e999, "x": ')),
        INVALID,
    ),
    ("J06", signed(claims(nbf=LATER)), NOT_YET),
    ("J06-text", signed(claims(nbf="soon")), INVALID),
    ("J07-missing", signed(claims(aud=None)), AUDIENCE),
    ("J07-other", signed(claims(aud="other")), AUDIENCE),
    ("J07-prefix", signed(claims(aud="ap")), AUDIENCE),
    ("J07-longer", signed(claims(aud="api2")), AUDIENCE),
    ("J07-list", signed(claims(aud=["x", "y"])), AUDIENCE),
    ("J07-object", signed(claims(aud={"api": 1})), AUDIENCE),
    ("J08-missing", signed(claims(iss=None)), ISSUER),
    ("J08-prefix", signed(claims(iss="https://issuer.exampl")), ISSUER),
    ("J08-longer", signed(claims(iss="https://issuer.example/")), ISSUER),
    ("J08-list", signed(claims(iss=["https://issuer.example"])), ISSUER),
    ("J11", signed(head={"alg": "HS256", "crit": ["exp"]}), INVALID),
    ("J11-unknown", signed(head={"alg": "HS256", "crit": ["b64"], "b64": False}), INVALID),
    ("J11-empty", signed(head={"alg": "HS256", "crit": []}), INVALID),
    ("J12-padding", _good() + "=", SIGNATURE),
    ("J12-space", _good().replace(".", " .", 1), INVALID),
    ("J12-head", f"{_good().split('.')[0]}=.{_good().split('.', 1)[1]}", INVALID),
    ("J13-deep", signed(nested(4_000)), INVALID),
    ("J13-twice", signed(twice("exp", LATER)), INVALID),
    ("J13-twice-sub", signed(twice("sub", "admin")), INVALID),
    ("J13-array", signed(b"[]"), INVALID),
    ("J13-text", signed(b"not json"), INVALID),
    ("J13-bytes", signed(b"\xff\xfe"), INVALID),
]

for _id, _token, _detail in REFUSED:

    @SUITE.case(_id, MUST, f"a token that must not pass: {_detail}", on=JWT, hostile=True)
    def _(trial: Trial, token: str = _token, detail: str = _detail) -> None:
        connection = trial.connect()
        answer = connection.ask("/who", headers=[bearer(token)])
        says(answer, 401, FAILED, detail)
        challenge = answer.header(b"www-authenticate")
        equal(challenge, b'Bearer error="invalid_token"', "www-authenticate")
        equal(connection.ask("/ping").status, 200, "status of the next request")


def _malformed(found: int) -> str:
    return f"Malformed JWT token: expected 3 parts separated by dots, found {found}"


MISSING = ("Missing or invalid Authorization header", "Expected 'Authorization: Bearer <token>'")
FORMAT = (
    "Invalid Authorization header format",
    "Authorization header must use Bearer scheme: 'Bearer <token>'",
)
# id, header lines, title, detail
HEADERS: list[tuple[str, list[str], tuple[str, str]]] = [
    ("J18-missing", [], MISSING),
    ("J18-twice", [bearer(_good()), bearer(_good())], MISSING),
    ("J18-basic", ["Authorization: Basic YTpi"], FORMAT),
    ("J18-bare", [f"Authorization: {_good()}"], FORMAT),
    ("J18-bytes", ["Authorization: Bearer \xff"], FORMAT),
    ("J12-two", [bearer("a.b")], ("Malformed JWT token", _malformed(2))),
    ("J12-four", [bearer(_good() + ".x")], ("Malformed JWT token", _malformed(4))),
    ("J12-one", [bearer("x")], ("Malformed JWT token", _malformed(1))),
    ("J14", [bearer("a.b.c.d.e")], ("Malformed JWT token", _malformed(5))),
]

for _id, _lines, _words in HEADERS:

    @SUITE.case(_id, MUST, f"authorization that is none: {_words[0]}", on=JWT, hostile=True)
    def _(
        trial: Trial, lines: list[str] = _lines, words: tuple[str, str] = _words, id: str = _id
    ) -> None:
        answer = trial.connect().ask("/who", headers=lines)
        says(answer, 401, *words)
        plain = words in (MISSING, FORMAT)
        challenge = b"Bearer" if plain else b'Bearer error="invalid_token"'
        equal(answer.header(b"www-authenticate"), challenge, f"www-authenticate of {id}")


# id, token
ACCEPTED = [
    ("J05-plain", _good()),
    ("J05-audiences", signed(claims(aud=["other", "api"]))),
    ("J05-fraction", signed(claims(exp=LATER + 0.5))),
    ("J05-no-sub", signed(claims(sub=None))),
    ("J05-no-typ", signed(head={"alg": "HS256"})),
    ("J06-iat", signed(claims(iat=LATER))),
    ("J06-nbf", signed(claims(nbf=BEFORE))),
    ("J10-file", signed(head={"alg": "HS256", "kid": "../../dev/null"})),
    ("J10-sql", signed(head={"alg": "HS256", "kid": "' OR 1=1 --"})),
    (
        "J10-url",
        signed(head={"alg": "HS256", "jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/"}),
    ),
    ("J10-jwk", signed(head={"alg": "HS256", "jwk": {"kty": "oct", "k": part(b"attacker")}})),
]

for _id, _token in ACCEPTED:

    @SUITE.case(_id, MUST, "a token that is right; what else it says is left alone", on=JWT)
    def _(trial: Trial, token: str = _token) -> None:
        answer = trial.connect().ask("/who", headers=[bearer(token)])
        equal(answer.status, 200, "status")


@SUITE.case(
    "J10-attacker", MUST, "a key in the token's own head signs nothing", on=JWT, hostile=True
)
def key_in_head(trial: Trial) -> None:
    head = {"alg": "HS256", "jwk": {"kty": "oct", "k": part(b"attacker")}}
    answer = trial.connect().ask("/who", headers=[bearer(signed(head=head, secret=b"attacker"))])
    says(answer, 401, FAILED, SIGNATURE)


@SUITE.case("J12-bits", MUST, "a token has one spelling: other last bits are refused", on=JWT)
def tail_bits(trial: Trial) -> None:
    token = _good()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 32 bytes are 43 characters, of whose last one two bits mean nothing.
    last = alphabet.index(token[-1])
    for other in range(last - last % 4, last - last % 4 + 4):
        answer = trial.connect().ask("/who", headers=[bearer(token[:-1] + alphabet[other])])
        equal(answer.status, 200 if other == last else 401, f"status with {alphabet[other]!r}")


@SUITE.case("J13", MUST, "a token of 1 MB is over the limits of a head", on=JWT, hostile=True)
def long_token(trial: Trial) -> None:
    connection = trial.connect()
    connection.request("/who", headers=[bearer("a" * (1 << 20))])
    equal(connection.outcome(), 431, "status")


@SUITE.case("J13-repeated", MUST, "a token that passed is judged anew each time", on=JWT)
def judged_anew(trial: Trial) -> None:
    connection = trial.connect()
    expiry = int(time.time()) + 2
    token = signed(claims(exp=expiry))
    seen = []
    while time.time() < expiry + 5:
        seen.append(connection.ask("/who", headers=[bearer(token)]).status)
        if seen[-1] != 200:
            break
    equal((seen[0], seen[-1]), (200, 401), "statuses before and after its end")
    changed = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    equal(connection.ask("/who", headers=[bearer(changed)]).status, 401, "status of a changed one")


@SUITE.case("J15", MUST, "all verified claims reach the handler, custom ones too", on=JWT)
def custom_claims(trial: Trial) -> None:
    given = claims(tenant={"id": 7}, roles=["admin"], ü="ü")
    answer = trial.connect().ask("/who", headers=[bearer(signed(given))])
    equal(json.loads(answer.body)["claims"], given, "claims")


@SUITE.case("J16", MUST, "scopes and roles are asked for where a route says so", on=JWT)
def grants(trial: Trial) -> None:
    connection = trial.connect()
    for target, given, status in (
        ("/scoped", {"scope": "read write"}, 200),
        ("/scoped", {"scp": ["write", "read", "more"]}, 200),
        ("/scoped", {"scope": "read"}, 403),
        ("/scoped", {"scope": "readwrite"}, 403),
        ("/scoped", {}, 403),
        ("/for-roles", {"roles": ["editor"]}, 200),
        ("/for-roles", {"role": "admin"}, 200),
        ("/for-roles", {"roles": ["administrator"]}, 403),
        ("/for-roles", {}, 403),
    ):
        answer = connection.ask(target, headers=[bearer(signed(claims(**given)))])
        equal(answer.status, status, f"status of {target} with {given}")
        if status == 403:
            challenge = answer.header(b"www-authenticate") or b""
            check(b'error="insufficient_scope"' in challenge, f"challenge {challenge!r}")
    equal(connection.ask("/scoped").status, 401, "status without a token")


@SUITE.case("J17", MUST, "a header that claims to be verified claims is dropped", on=JWT)
def spoofed_claims(trial: Trial) -> None:
    connection = trial.connect()
    spoof = 'X-Spikard-Jwt-Claims: {"sub": "admin"}'
    answer = connection.ask("/open", headers=[spoof])
    equal((answer.status, json.loads(answer.body)), (200, None), "on an open route")
    answer = connection.ask("/who", headers=[spoof, bearer(_good())])
    equal(json.loads(answer.body)["spoofed"], None, "on a route with a token")


@SUITE.case("J19", MUST, "leeway and required claims are as configured", on=profile("leeway"))
def leeway(trial: Trial) -> None:
    connection = trial.connect()
    now = int(time.time())
    for given, status in (
        ({"sub": "a"}, 200),
        ({"sub": "a", "exp": now - 20}, 200),
        ({"sub": "a", "exp": now - 120}, 401),
        ({"sub": "a", "nbf": now + 30}, 200),
        ({"sub": "a", "nbf": now + 600}, 401),
        ({"exp": LATER}, 401),
        ({"sub": None, "exp": LATER}, 401),
    ):
        answer = connection.ask("/who", headers=[bearer(signed(given))])
        equal(answer.status, status, f"status for {given}")


@SUITE.case(
    "J02-confusion", MUST, "a public key is no shared secret", on=profile("rs256"), hostile=True
)
def confusion(trial: Trial) -> None:
    connection = trial.connect()
    equal(connection.ask("/who", headers=[bearer(rsa_signed())]).status, 200, "status of RS256")
    pem = tokens.public_pem()
    for secret in (pem, pem.strip(), pem.encode()):
        for head in ({"alg": "HS256"}, {"alg": "RS256"}):
            answer = connection.ask("/who", headers=[bearer(signed(head=head, secret=secret))])
            equal(answer.status, 401, f"status of {head} signed with the public key")
    answer = connection.ask("/who", headers=[bearer(rsa_signed(algorithm="PS256"))])
    equal(answer.status, 401, "status of PS256")


@SUITE.case(
    "J09", MUST, "keys rotate: a kid chooses within the set, and only there", on=profile("jwks")
)
def rotation(trial: Trial) -> None:
    connection = trial.connect()
    for kid, signer, status in (
        ("old", "old", 200),
        ("new", "new", 200),
        ("new", "old", 401),
        ("gone", "gone", 401),
        ("shared", "new", 401),
        (None, "new", 401),
    ):
        answer = connection.ask("/who", headers=[bearer(tokens.ec_signed(kid, signer))])
        equal(answer.status, status, f"status of {kid} signed with {signer}")
    head = {"alg": "HS256", "kid": "shared"}
    answer = connection.ask("/who", headers=[bearer(signed(head=head, secret=b"x" * 32))])
    equal(answer.status, 401, "status of the set's key of another algorithm")


@SUITE.case("J20", MUST, "a WebSocket without a token is a 401 before any 101", on=JWT)
def socket_without_token(trial: Trial) -> None:
    fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    answer = trial.connect().ask("/socket", headers=fields)
    says(answer, 401, *MISSING)
    answer = trial.connect().ask("/socket", headers=[*fields, bearer(_good())])
    equal(answer.status, 101, "status with a token")


KEYED = profile("key")
NO_KEY = ("Missing API key", "Expected 'X-API-Key' header with valid API key")
NO_KEY_OR_QUERY = (
    "Missing API key",
    "Expected 'X-API-Key' header or 'api_key' query parameter with valid API key",
)
BAD_KEY = ("Invalid API key", "The provided API key is not valid")
# id, profile, target, header lines, words of the 401 or None
KEYS: list[tuple[str, str, str, list[str], tuple[str, str] | None]] = [
    ("K02-off", "key", f"/who?api_key={KEY}", [], NO_KEY),
    ("K02-on", "key-in-query", f"/who?api_key={KEY}", [], None),
    ("K02-missing", "key-in-query", "/who", [], NO_KEY_OR_QUERY),
    ("K02-bad", "key-in-query", "/who?api_key=x", [], BAD_KEY),
    ("K02-twice", "key-in-query", f"/who?api_key={KEY}&api_key=x", [], NO_KEY_OR_QUERY),
    ("K02-both", "key-in-query", f"/who?api_key={KEY}", ["X-API-Key: x"], BAD_KEY),
    ("K03-twice", "key", "/who", [f"X-API-Key: {KEY}", "X-API-Key: x"], BAD_KEY),
    ("K03-twice-good", "key", "/who", [f"X-API-Key: {KEY}"] * 2, BAD_KEY),
    ("K03-list", "key", "/who", [f"X-API-Key: x, {KEY}"], BAD_KEY),
    ("K03-space", "key", "/who", [f"X-API-Key: {KEY} x"], BAD_KEY),
    ("K03-bytes", "key", "/who", [f"X-API-Key: {KEY}\xe9"], BAD_KEY),
    ("K03-case", "key", "/who", [f"X-API-Key: {KEY.upper()}"], BAD_KEY),
    ("K03-prefix", "key", "/who", [f"X-API-Key: {KEY[:-1]}"], BAD_KEY),
    ("K04-empty", "key", "/who", ["X-API-Key:"], BAD_KEY),
    ("K04-missing", "key", "/who", [], NO_KEY),
    ("K08-plain", "key", "/who", [f"X-API-Key: {KEY}"], None),
    ("K08-hashed", "key", "/who", [f"X-API-Key: {HASHED_KEY}"], None),
    ("K09-open", "key", "/open", [], None),
    ("K09-file", "key", "/static/letters.txt", [], NO_KEY),
    ("K09-public", "key", "/public/letters.txt", [], None),
    ("K09-nothing", "key", "/nothing/here", [], NO_KEY),
]

for _id, _profile, _target, _lines, _expected in KEYS:

    @SUITE.case(
        _id,
        MUST,
        _expected[1] if _expected else "passes",
        on=profile(_profile),
        hostile=True,
    )
    def _(
        trial: Trial,
        target: str = _target,
        lines: list[str] = _lines,
        words: tuple[str, str] | None = _expected,
    ) -> None:
        answer = trial.connect().ask(target, headers=lines)
        if words is None:
            equal(answer.status, 200, "status")
            return
        says(answer, 401, *words)
        check(answer.header(b"www-authenticate"), "no www-authenticate")


LINES: list[Line] = [
    ("K05-neither", "GET /who", [], "401", "with both configured, neither"),
    ("K05-key", "GET /who", [f"X-API-Key: {KEY}"], "401", "the key alone"),
    ("K05-token", "GET /who", [bearer(_good())], "401", "the token alone"),
    ("K05-both", "GET /who", [bearer(_good()), f"X-API-Key: {KEY}"], "200", "both"),
    ("K05-bad-key", "GET /who", [bearer(_good()), "X-API-Key: x"], "401", "a bad key"),
    ("K05-bad-token", "GET /who", [bearer("a.b.c"), f"X-API-Key: {KEY}"], "401", "a bad token"),
    ("K05-open", "GET /open", [], "200", "a route that is open"),
]
table("both", LINES)


@SUITE.case(
    "K06",
    MUST,
    "no key or token gets into a log or the documentation",
    on=profile("key-in-query", access_log=True),
)
def redacted(trial: Trial) -> None:
    connection = trial.connect()
    connection.ask(f"/who?api_key={KEY}")
    connection.ask("/who", headers=[f"X-API-Key: {KEY}"])
    connection.ask("/raises", headers=[f"X-API-Key: {KEY}"])
    connection.ask(f"/nothing?api_key={KEY}")
    eventually(lambda: "/nothing" in trial.server.log(), "the access log is not written")
    log = trial.server.log()
    check(KEY not in log and SECRET not in log, "a secret is in the log")


@SUITE.case(
    "K07",
    MUST,
    "a client that guesses keys is limited before its keys are looked at",
    on=profile("limit-and-key"),
    hostile=True,
)
def guessing(trial: Trial) -> None:
    connection = trial.connect()
    found = [
        connection.ask("/who", headers=[f"X-API-Key: guess-{number}"]).status
        for number in range(100)
    ]
    equal(found, [401] * 3 + [429] * 97, "statuses")
    answer = connection.ask("/who", headers=[f"X-API-Key: {KEY}"])
    equal(answer.status, 429, "status of the right key")


def _answered(answer: Response) -> None:
    equal((answer.status, answer.body), (200, TEXT.encode()), "answer")


SUITE.left_out(
    "K01",
    "the time of a comparison says nothing",
    "all digests are compared in constant time (subtle); measured outside of CI only",
)
