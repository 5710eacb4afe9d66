"""Group V, with O01, K04, L11: a configuration that cannot be meant does not start, and says which field it is."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conformance import certificates
from conformance.case import MUST
from conformance.policies import tokens
from conformance.policies.suite import SUITE, profile
from conformance.verdict import check, eventually

if TYPE_CHECKING:
    from conformance.trial import Trial

PLAIN = profile("plain")

# id, variables, words of the message
REFUSED: list[tuple[str, dict[str, str], list[str]]] = [
    (
        "V02-misspelt",
        {"SPIKARD_MAX_BODY_SIZ": "1"},
        ["SPIKARD_MAX_BODY_SIZ", "SPIKARD_MAX_BODY_SIZE"],
    ),
    ("V02-type", {"SPIKARD_MAX_BODY_SIZE": "large"}, ["SPIKARD_MAX_BODY_SIZE", "large"]),
    ("V02-negative", {"SPIKARD_MAX_QUEUE": "-1"}, ["SPIKARD_MAX_QUEUE", "-1"]),
    ("V02-zero", {"SPIKARD_REQUEST_TIMEOUT": "0"}, ["SPIKARD_REQUEST_TIMEOUT", "0"]),
    ("V02-switch", {"SPIKARD_COMPRESSION": "maybe"}, ["SPIKARD_COMPRESSION", "maybe"]),
    ("V02-quality", {"SPIKARD_COMPRESSION_QUALITY": "12"}, ["SPIKARD_COMPRESSION_QUALITY", "11"]),
    (
        "V02-proxies",
        {"SPIKARD_FORWARDED_ALLOW_IPS": "10.0.0.0/99"},
        ["SPIKARD_FORWARDED_ALLOW_IPS", "10.0.0.0/99"],
    ),
    (
        "V02-hosts",
        {"SPIKARD_ALLOWED_HOSTS": "https://a.example"},
        ["allowed_hosts", "https://a.example"],
    ),
    ("V02-header", {"SPIKARD_HEADER": "no colon"}, ["SPIKARD_HEADER", "no colon"]),
    (
        "V02-field-name",
        {"SPIKARD_API_KEY_KEYS": "k", "SPIKARD_API_KEY_HEADER_NAME": "a b"},
        ["header_name", "a b"],
    ),
    ("V02-together", {"SPIKARD_MAX_HEADER_SIZE": "2048"}, ["max_header_field", "2048"]),
    (
        "O01",
        {"SPIKARD_CORS_ALLOW_ORIGINS": "*", "SPIKARD_CORS_ALLOW_CREDENTIALS": "on"},
        ["allow_origins", "*"],
    ),
    ("O01-origin", {"SPIKARD_CORS_ALLOW_ORIGINS": "example.com"}, ["allow_origins", "example.com"]),
    ("O01-path", {"SPIKARD_CORS_ALLOW_ORIGINS": "https://example.com/"}, ["allow_origins"]),
    ("O01-pattern", {"SPIKARD_CORS_ALLOW_ORIGIN_REGEX": "(["}, ["allow_origin_regex"]),
    ("K04-none", {"SPIKARD_API_KEY_KEYS": ","}, ["API_KEY_KEYS"]),
    ("K04-header", {"SPIKARD_API_KEY_HEADER_NAME": "X-Key"}, ["SPIKARD_API_KEY_KEYS"]),
    ("K04-digest", {"SPIKARD_API_KEY_KEYS": "sha256:abc"}, ["keys", "64"]),
    (
        "L11-burst",
        {"SPIKARD_RATE_LIMIT_PER_SECOND": "1", "SPIKARD_RATE_LIMIT_BURST": "0"},
        ["BURST", "0"],
    ),
    (
        "L11-rate",
        {"SPIKARD_RATE_LIMIT_PER_SECOND": "0", "SPIKARD_RATE_LIMIT_BURST": "1"},
        ["PER_SECOND", "0"],
    ),
    (
        "L11-negative",
        {"SPIKARD_RATE_LIMIT_PER_SECOND": "-1", "SPIKARD_RATE_LIMIT_BURST": "1"},
        ["PER_SECOND", "-1"],
    ),
    (
        "L11-huge",
        {"SPIKARD_RATE_LIMIT_PER_SECOND": "1", "SPIKARD_RATE_LIMIT_BURST": str(2**63)},
        ["burst"],
    ),
    (
        "L11-nan",
        {"SPIKARD_RATE_LIMIT_PER_SECOND": "nan", "SPIKARD_RATE_LIMIT_BURST": "1"},
        ["PER_SECOND"],
    ),
    ("L11-half", {"SPIKARD_RATE_LIMIT_BURST": "1"}, ["per-second"]),
    (
        "L11-by",
        {
            "SPIKARD_RATE_LIMIT_PER_SECOND": "1",
            "SPIKARD_RATE_LIMIT_BURST": "1",
            "SPIKARD_RATE_LIMIT_BY": "moon",
        },
        ["by", "moon"],
    ),
    (
        "L11-by-key",
        {
            "SPIKARD_RATE_LIMIT_PER_SECOND": "1",
            "SPIKARD_RATE_LIMIT_BURST": "1",
            "SPIKARD_RATE_LIMIT_BY": "api_key",
        },
        ["rate_limit.by", "api_key"],
    ),
    (
        "V03-static",
        {"SPIKARD_STATIC_FILES": "/files=/nowhere/at/all"},
        ["static_files[0].directory", "/nowhere/at/all"],
    ),
    (
        "V03-certificate",
        {"SPIKARD_SSL_CERTFILE": "/nowhere.pem", "SPIKARD_SSL_KEYFILE": "/nowhere.key"},
        ["certfile", "/nowhere.pem"],
    ),
    (
        "V03-jwks",
        {"SPIKARD_JWT_JWKS": "/nowhere.json", "SPIKARD_JWT_ALGORITHM": "ES256"},
        ["jwks", "/nowhere.json"],
    ),
    (
        "V03-jwks-empty",
        {"SPIKARD_JWT_JWKS": '{"keys": []}', "SPIKARD_JWT_ALGORITHM": "ES256"},
        ["jwks", "key"],
    ),
    (
        "J02-pem",
        {"SPIKARD_JWT_SECRET": tokens.public_pem(), "SPIKARD_JWT_ALGORITHM": "HS256"},
        ["secret", "PEM"],
    ),
    (
        "J02-not-pem",
        {"SPIKARD_JWT_SECRET": "x" * 40, "SPIKARD_JWT_ALGORITHM": "RS256"},
        ["secret", "PEM"],
    ),
    (
        "J02-other-key",
        {"SPIKARD_JWT_SECRET": tokens.public_pem(), "SPIKARD_JWT_ALGORITHM": "ES256"},
        ["secret"],
    ),
    (
        "J02-algorithm",
        {"SPIKARD_JWT_SECRET": "x" * 40, "SPIKARD_JWT_ALGORITHM": "none"},
        ["ALGORITHM", "none"],
    ),
    ("V06-port", {"SPIKARD_PORT": "eighty"}, ["SPIKARD_PORT", "eighty"]),
    ("V06-port-high", {"SPIKARD_PORT": "65536"}, ["SPIKARD_PORT", "65535"]),
    ("V06-workers", {"SPIKARD_WORKERS": "0"}, ["SPIKARD_WORKERS", "0"]),
]

for _id, _variables, _words in REFUSED:

    @SUITE.case(_id, MUST, f"does not start: {' '.join(_variables)}", needs={"timers"}, on=PLAIN)
    def _(trial: Trial, variables: dict[str, str] = _variables, words: list[str] = _words) -> None:
        given = (*PLAIN.environment, *variables.items())
        options = dataclasses.replace(PLAIN, environment=given)
        server = trial.start(options, ready=False)
        code = server.wait_exit(within=10)
        check(code == 1, f"exit code {code}")
        line = server.last_line()
        for word in words:
            check(word in line, f"{word!r} is not in {line!r}")
        check("PUBLIC KEY" not in server.log(), "the key is in the message")


@SUITE.case(
    "V03-key",
    MUST,
    "a key that every user can read is warned about",
    needs={"tls", "timers"},
    on=PLAIN,
)
def readable_key(trial: Trial) -> None:
    chain = certificates.server()
    with tempfile.TemporaryDirectory() as directory:
        key = Path(directory, "key.pem")
        key.write_bytes(chain.key.read_bytes())
        for mode, warned in ((0o644, True), (0o600, False)):
            os.chmod(key, mode)
            options = dataclasses.replace(
                PLAIN, tls=True, certificate=str(chain.certificate), key=str(key)
            )
            server = trial.start(options)
            server.ping()
            check(("can read the key" in server.log()) == warned, f"warning with mode {mode:o}")


@SUITE.case("V06-host", MUST, "does not start on a host that is none", needs={"timers"}, on=PLAIN)
def odd_host(trial: Trial) -> None:
    options = dataclasses.replace(PLAIN, arguments=("--host", "not a host"))
    server = trial.start(options, ready=False)
    check(server.wait_exit(within=10) == 1, "exit code is not 1")
    check("not a host" in server.last_line(), server.last_line())


EVERYWHERE = ("--host", "0.0.0.0")  # noqa: S104 - what the warning is about

# id, variables, arguments, words of the warning
WARNED = [
    ("V05-docs", {}, EVERYWHERE, "documentation is open to everyone"),
    ("V05-debug", {"CONFORMANCE_DEBUG": "1"}, EVERYWHERE, "debug is on"),
    ("J21-secret", {"SPIKARD_JWT_SECRET": "short"}, (), "shorter than 32 bytes"),
]

for _id, _variables, _arguments, _text in WARNED:

    @SUITE.case(_id, MUST, f"warns: {_text}", needs={"timers"}, on=PLAIN)
    def _(
        trial: Trial,
        variables: dict[str, str] = _variables,
        arguments: tuple[str, ...] = _arguments,
        text: str = _text,
    ) -> None:
        given = (*PLAIN.environment, *variables.items())
        options = dataclasses.replace(PLAIN, environment=given, arguments=arguments)
        server = trial.start(options)
        eventually(lambda: text in server.log(), f"{text!r} is not said")
        check("short" not in server.log().replace("shorter", ""), "the secret is in the log")


@SUITE.case("V05-quiet", MUST, "an ordinary start warns of nothing", needs={"timers"}, on=PLAIN)
def quiet_start(trial: Trial) -> None:
    server = trial.start(PLAIN)
    server.ping()
    check("warning" not in server.log().lower(), server.log())
