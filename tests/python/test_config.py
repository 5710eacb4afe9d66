"""`spikard.config`: values that cannot be wrong, and the texts they come from."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import pytest

from spikard import _settings, config
from spikard.config import (
    ApiKeyConfig,
    CompressionConfig,
    ContactInfo,
    CorsConfig,
    JwtConfig,
    LicenseInfo,
    OpenApiConfig,
    RateLimitConfig,
    SecurityHeadersConfig,
    SecuritySchemeInfo,
    ServerConfig,
    ServerInfo,
    StaticFilesConfig,
    TlsConfig,
)

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-more-than-thirty-two-bytes"
PEM = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def everything_built(monkeypatch):
    monkeypatch.setattr(config, "NOT_BUILT", frozenset())


@pytest.mark.usefixtures("everything_built")
def test_defaults_are_those_of_the_contract():
    made = ServerConfig()
    expected = {
        "host": "127.0.0.1",
        "port": 8000,
        "workers": 1,
        "uds": None,
        "fd": None,
        "backlog": 2048,
        "http": "auto",
        "max_body_size": 10 * 1024 * 1024,
        "request_timeout": 30.0,
        "keep_alive_timeout": 75.0,
        "header_timeout": 10.0,
        "body_timeout": 30.0,
        "max_header_size": 32 * 1024,
        "max_headers": 100,
        "max_concurrent_streams": 100,
        "max_connections": 10_000,
        "max_concurrency": None,
        "max_requests": None,
        "ws_max_message_size": 16 * 1024 * 1024,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "enable_request_id": True,
        "compression": CompressionConfig(),
        "cors": None,
        "rate_limit": None,
        "jwt_auth": None,
        "api_key_auth": None,
        "static_files": (),
        "openapi": None,
        "tls": None,
        "trusted_proxies": (),
        "root_path": "",
        "server_header": False,
        "access_log": True,
        "graceful_shutdown": True,
        "shutdown_timeout": 30.0,
    }
    assert {name: getattr(made, name) for name in expected} == expected


def test_configuration_is_frozen_and_keyword_only():
    made = ServerConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.port = 1  # type: ignore[misc] # the point of the test
    with pytest.raises(TypeError):
        ServerConfig("127.0.0.1")  # type: ignore[call-arg] # the point of the test


def test_misspelt_field_is_named():
    with pytest.raises(TypeError, match="prot"):
        ServerConfig(prot=8000)  # type: ignore[call-arg] # the point of the test


WRONG = [
    (ServerConfig, {"port": 65_536}, "ServerConfig.port: expected an integer from 0 to 65535, got"),
    (ServerConfig, {"port": -1}, "from 0 to 65535, got -1"),
    (ServerConfig, {"port": "8000"}, "got '8000'"),
    (ServerConfig, {"port": True}, "got True"),
    (ServerConfig, {"port": 80.0}, "got 80.0"),
    (ServerConfig, {"host": ""}, "ServerConfig.host: expected a string that is not empty"),
    (ServerConfig, {"host": "a\nb"}, "without control characters"),
    (ServerConfig, {"workers": 0}, "ServerConfig.workers: expected an integer from 1"),
    (ServerConfig, {"max_body_size": 0}, "a number of bytes of at least 1 or None, got 0"),
    (ServerConfig, {"request_timeout": 0}, "at least 0.001 or None, got 0"),
    (ServerConfig, {"request_timeout": float("nan")}, "got nan"),
    (ServerConfig, {"request_timeout": float("inf")}, "got inf"),
    (ServerConfig, {"request_timeout": timedelta(seconds=3)}, "a number of seconds"),
    (ServerConfig, {"header_timeout": None}, "ServerConfig.header_timeout: expected a number"),
    (ServerConfig, {"http": "3"}, '"auto" or "1" or "2", got \'3\''),
    (ServerConfig, {"access_log": 1}, "True or False, got 1"),
    (ServerConfig, {"root_path": "api"}, 'starts with "/"'),
    (ServerConfig, {"headers": ["no colon"]}, "x-name: value"),
    (ServerConfig, {"headers": [("x-a", "b\r\nset-cookie: c")]}, "x-name: value"),
    (ServerConfig, {"headers": [("bad name", "b")]}, "x-name: value"),
    (ServerConfig, {"headers": "x-a: b"}, "a list or tuple"),
    (ServerConfig, {"trusted_proxies": ["localhost"]}, "10.0.0.0/8"),
    (ServerConfig, {"uds": "/tmp/s", "fd": 3}, "ServerConfig.fd: expected either uds or fd"),
    (ServerConfig, {"max_requests_jitter": 5}, "ServerConfig.max_requests_jitter"),
    (ServerConfig, {"max_header_size": 8192}, "ServerConfig.max_header_field: expected at most"),
    (ServerConfig, {"h2_connection_window": 65_535}, "ServerConfig.h2_stream_window"),
    (ServerConfig, {"compression": True}, "a CompressionConfig or None, got True"),
    (ServerConfig, {"static_files": ["public"]}, "of StaticFilesConfig"),
    (CompressionConfig, {"quality": 12}, "CompressionConfig.quality: expected an integer from 0"),
    (RateLimitConfig, {"per_second": 0, "burst": 1}, "RateLimitConfig.per_second"),
    (RateLimitConfig, {"per_second": 1, "burst": 0}, "RateLimitConfig.burst"),
    (JwtConfig, {"secret": ""}, "JwtConfig.secret: expected a string that is not empty"),
    (JwtConfig, {"secret": SECRET, "algorithm": "none"}, "JwtConfig.algorithm"),
    (JwtConfig, {"secret": SECRET, "algorithm": "RS256"}, "expected a PEM public key for RS256"),
    (JwtConfig, {"secret": PEM}, "expected a shared secret with HS256, got a PEM key"),
    (JwtConfig, {}, "JwtConfig.secret: expected either secret or jwks"),
    (JwtConfig, {"secret": SECRET, "jwks": "k.json"}, "JwtConfig.secret: expected either"),
    (JwtConfig, {"secret": SECRET, "leeway": 1.5}, "JwtConfig.leeway: expected an integer"),
    (RateLimitConfig, {"per_second": 1, "burst": 1, "by": "claim:"}, "RateLimitConfig.by"),
    (JwtConfig, {"secret": SECRET, "audience": []}, "JwtConfig.audience: expected at least one"),
    (ApiKeyConfig, {"keys": []}, "ApiKeyConfig.keys: expected at least one value"),
    (ApiKeyConfig, {"keys": "key"}, "a list or tuple"),
    (ApiKeyConfig, {"keys": ["k"], "header_name": "a b"}, "ApiKeyConfig.header_name"),
    (CorsConfig, {"allow_origins": ["*"], "allow_credentials": True}, "named origins"),
    (CorsConfig, {"allow_origins": ["a.example"]}, "https://a.example"),
    (CorsConfig, {"allow_origins": "*"}, "a list or tuple"),
    (StaticFilesConfig, {"directory": "", "route_prefix": "/s"}, "StaticFilesConfig.directory"),
    (StaticFilesConfig, {"directory": "d", "route_prefix": "s"}, "StaticFilesConfig.route_prefix"),
    (TlsConfig, {"certfile": "c", "keyfile": "k", "min_version": "1.1"}, "TlsConfig.min_version"),
    (TlsConfig, {"certfile": "c", "keyfile": "k", "client_cert": "required"}, "client_ca"),
    (TlsConfig, {"certfile": "c", "keyfile": "k", "client_ca": "ca"}, "client_ca"),
    (OpenApiConfig, {"redoc_path": "/docs"}, "expected distinct paths"),
    (OpenApiConfig, {"servers": [{"url": "https://a"}]}, "of ServerInfo"),
    (OpenApiConfig, {"security_schemes": {"a": "b"}}, "to SecuritySchemeInfo"),
    (OpenApiConfig, {"contact": "me"}, "a ContactInfo or None"),
    (SecuritySchemeInfo, {"type": "apiKey"}, "expected name and location"),
    (SecuritySchemeInfo, {"type": "http"}, "SecuritySchemeInfo.scheme"),
    (LicenseInfo, {"name": ""}, "LicenseInfo.name"),
    (ServerInfo, {"url": 3}, "ServerInfo.url"),
    (ContactInfo, {"name": 3}, "ContactInfo.name"),
]


@pytest.mark.usefixtures("everything_built")
@pytest.mark.parametrize(("made", "given", "message"), WRONG)
def test_wrong_value_is_an_error_that_names_field_and_range(made, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        made(**given)


@pytest.mark.usefixtures("everything_built")
def test_values_are_stored_in_one_form():
    made = ServerConfig(
        shutdown_timeout=3,
        uds=Path("/run/s"),
        root_path="/api/",
        headers=["X-A: b, c"],  # type: ignore[list-item] # accepted as text
        trusted_proxies=["10.1.2.3/8", "*"],
        static_files=[StaticFilesConfig(directory=Path("p"), route_prefix="/s/")],
        jwt_auth=JwtConfig(secret=SECRET, audience="me"),
    )
    assert made.shutdown_timeout == 3.0
    assert isinstance(made.shutdown_timeout, float)
    assert made.uds == "/run/s"
    assert made.root_path == "/api"
    assert made.headers == (("x-a", "b, c"),)
    assert made.trusted_proxies == ("10.0.0.0/8", "*")
    assert made.static_files == (StaticFilesConfig(directory="p", route_prefix="/s"),)
    assert made.jwt_auth is not None
    assert made.jwt_auth.audience == ("me",)


@pytest.mark.usefixtures("everything_built")
def test_short_shared_secret_warns_without_showing_it():
    with pytest.warns(UserWarning, match="shorter than 32 bytes") as caught:
        JwtConfig(secret="hunter2")
    assert "hunter2" not in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.usefixtures("everything_built")
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: JwtConfig(secret=SECRET), id="jwt"),
        pytest.param(lambda: ApiKeyConfig(keys=[SECRET]), id="api key"),
        pytest.param(lambda: TlsConfig(certfile="c", keyfile="k", key_password=SECRET), id="tls"),
        pytest.param(lambda: ServerConfig(jwt_auth=JwtConfig(secret=SECRET)), id="nested"),
    ],
)
def test_repr_hides_secrets(made):
    assert SECRET not in repr(made())
    assert "'***'" in repr(made())


@pytest.mark.usefixtures("everything_built")
def test_error_hides_secrets():
    with pytest.raises(ValueError, match="keys") as raised:
        ApiKeyConfig(keys=[b"raw-secret"])  # type: ignore[list-item] # the point of the test
    assert "raw-secret" not in str(raised.value)


def test_copy_changes_and_checks_again():
    made = ServerConfig(port=1)
    assert made.copy(workers=4) == ServerConfig(port=1, workers=4)
    with pytest.raises(ValueError, match=r"ServerConfig\.workers"):
        made.copy(workers=0)


def test_field_whose_feature_is_missing_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(config, "NOT_BUILT", frozenset({"ServerConfig.cors"}))
    with pytest.raises(ValueError, match=r"ServerConfig\.cors: not available yet"):
        ServerConfig(cors=CorsConfig())
    assert ServerConfig(cors=None).cors is None
    assert "cors" not in json.loads(ServerConfig().to_json())
    assert not [row for row in _settings.settings() if row.path[0] == "cors"]


def test_every_missing_feature_is_a_real_field():
    names = {
        f"{kind.__name__}.{item.name}"
        for kind in (getattr(config, name) for name in config.__all__)
        for item in dataclasses.fields(kind)
    }
    assert names >= config.NOT_BUILT


@pytest.mark.usefixtures("everything_built")
def test_json_has_every_field_with_seconds_as_floats_and_sizes_as_integers():
    made = ServerConfig(shutdown_timeout=3, headers=[("x-a", "b")], uds="/run/s")
    data = json.loads(made.to_json())
    assert list(data) == [item.name for item in dataclasses.fields(ServerConfig)]
    assert b'"shutdown_timeout":3.0' in made.to_json()
    assert data["max_body_size"] == 10_485_760
    assert data["headers"] == [["x-a", "b"]]
    assert data["compression"]["quality"] == 6
    assert data["cors"] is None


@pytest.mark.usefixtures("everything_built")
def test_foreign_application_gets_no_policies():
    foreign = ServerConfig(port=1).for_foreign_app()
    assert (foreign.compression, foreign.enable_request_id) == (None, False)
    assert (foreign.max_body_size, foreign.request_timeout) == (None, None)
    assert foreign.port == 1


@pytest.mark.usefixtures("everything_built")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SPIKARD_PORT": "9000"}, {"port": 9000}),
        ({"SPIKARD_PORT": ""}, {}),
        ({"SPIKARD_MAX_BODY_SIZE": "2MiB"}, {"max_body_size": 2 << 20}),
        ({"SPIKARD_MAX_BODY_SIZE": "none"}, {"max_body_size": None}),
        ({"SPIKARD_REQUEST_TIMEOUT": "1.5m"}, {"request_timeout": 90.0}),
        ({"SPIKARD_REQUEST_TIMEOUT": "250ms"}, {"request_timeout": 0.25}),
        ({"SPIKARD_ACCESS_LOG": "off"}, {"access_log": False}),
        ({"SPIKARD_HEADER": "x-a: 1, 2\nx-b: 3"}, {"headers": [("x-a", "1, 2"), ("x-b", "3")]}),
        ({"SPIKARD_FORWARDED_ALLOW_IPS": "*"}, {"trusted_proxies": ["*"]}),
        ({"SPIKARD_COMPRESSION": "off"}, {"compression": None}),
        (
            {"SPIKARD_COMPRESSION_QUALITY": "9"},
            {"compression": CompressionConfig(quality=9)},
        ),
        (
            {"SPIKARD_CORS_ALLOW_ORIGINS": "https://a.example, https://b.example"},
            {"cors": CorsConfig(allow_origins=["https://a.example", "https://b.example"])},
        ),
        (
            {"SPIKARD_RATE_LIMIT_PER_SECOND": "5", "SPIKARD_RATE_LIMIT_BURST": "9"},
            {"rate_limit": RateLimitConfig(per_second=5, burst=9)},
        ),
        ({"SPIKARD_JWT_SECRET": SECRET}, {"jwt_auth": JwtConfig(secret=SECRET)}),
        ({"SPIKARD_API_KEY_KEYS": "a,b"}, {"api_key_auth": ApiKeyConfig(keys=["a", "b"])}),
        ({"SPIKARD_OPENAPI": "on"}, {"openapi": OpenApiConfig(enabled=True)}),
        ({"SPIKARD_OPENAPI_TITLE": "T"}, {"openapi": OpenApiConfig(enabled=True, title="T")}),
        (
            {"SPIKARD_SSL_CERTFILE": "c", "SPIKARD_SSL_KEYFILE": "k"},
            {"tls": TlsConfig(certfile="c", keyfile="k")},
        ),
        (
            {"SPIKARD_STATIC_FILES": "/a=x,/b=y"},
            {
                "static_files": [
                    StaticFilesConfig(route_prefix="/a", directory="x"),
                    StaticFilesConfig(route_prefix="/b", directory="y"),
                ]
            },
        ),
        ({"SPIKARD_SOMETHING_ELSE": "1", "PORT": "1"}, {}),
    ],
)
def test_variable_overrides_its_field(variables, expected):
    assert ServerConfig.from_env(variables) == ServerConfig(**expected)


@pytest.mark.usefixtures("everything_built")
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SPIKARD_PORT": "http"}, "SPIKARD_PORT: expected an integer from 0 to 65535"),
        ({"SPIKARD_PORT": "70000"}, "SPIKARD_PORT: expected an integer from 0 to 65535"),
        ({"SPIKARD_PORT": "tcp://10.0.0.1:80"}, "enableServiceLinks"),
        ({"SPIKARD_ACCESS_LOG": "maybe"}, "SPIKARD_ACCESS_LOG: expected true, false"),
        ({"SPIKARD_MAX_BODY_SIZE": "10 apples"}, "SPIKARD_MAX_BODY_SIZE: expected a size"),
        ({"SPIKARD_REQUEST_TIMEOUT": "soon"}, "SPIKARD_REQUEST_TIMEOUT: expected a span"),
        ({"SPIKARD_WORKERZ": "2"}, "did you mean SPIKARD_WORKERS"),
        ({"SPIKARD_SSL_CERTFILE": "c"}, "ServerConfig.tls: --ssl-keyfile must be given too"),
        ({"SPIKARD_RATE_LIMIT_BURST": "5"}, "--rate-limit-per-second must be given too"),
        ({"SPIKARD_JWT_LEEWAY": "5"}, "JwtConfig.secret: expected either secret or jwks"),
        ({"SPIKARD_STATIC_FILES": "public"}, "/prefix=directory"),
    ],
)
def test_malformed_variable_is_an_error_that_names_it(variables, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ServerConfig.from_env(variables)


@pytest.mark.usefixtures("everything_built")
def test_malformed_secret_variable_is_not_shown():
    with pytest.raises(ValueError, match="SPIKARD_JWT_SECRET") as raised:
        ServerConfig.from_env({"SPIKARD_JWT_SECRET": "  "})
    assert "'  '" not in str(raised.value)


@pytest.mark.usefixtures("everything_built")
def test_variables_go_over_the_base_field_by_field():
    base = ServerConfig(port=1, host="::1", compression=CompressionConfig(gzip=False))
    made = ServerConfig.from_env({"SPIKARD_PORT": "2", "SPIKARD_COMPRESSION_QUALITY": "3"}, base)
    assert (made.port, made.host) == (2, "::1")
    assert made.compression == CompressionConfig(gzip=False, quality=3)


@pytest.mark.usefixtures("everything_built")
def test_upper_layer_turns_a_part_on_again():
    lower = _settings.read_variables({"SPIKARD_COMPRESSION": "off"})
    merged = _settings.merge(lower, {("compression", "quality"): 3})
    made = _settings.apply(ServerConfig(), merged)
    assert made.compression == CompressionConfig(quality=3)


@pytest.mark.usefixtures("everything_built")
def test_flags_and_variables_are_distinct():
    rows = [*_settings.PROGRAM_SETTINGS, *_settings.settings()]
    for names in ([row.flag for row in rows if row.flag], [row.variable for row in rows]):
        assert len(set(names)) == len(names)


@pytest.mark.usefixtures("everything_built")
def test_secrets_have_no_flag_but_a_variable():
    hidden = {row.variable for row in _settings.settings() if row.flag is None}
    assert hidden == {"SPIKARD_JWT_SECRET", "SPIKARD_API_KEY_KEYS"}


@pytest.mark.usefixtures("everything_built")
def test_default_of_every_setting_reads_back_as_itself():
    for row in _settings.settings():
        shown = row.shown_default()
        if shown and row.default is not None and row.path[0] != "compression":
            assert row.parse(shown) == row.default, row.path


def rust_fields(source: str, start: str, end: str, pattern: str) -> set[str]:
    text = (ROOT / source).read_text(encoding="utf-8")
    return set(re.findall(pattern, text[text.index(start) :].split(end, 1)[0], re.MULTILINE))


def test_rust_pipeline_knows_every_field():
    source = "src/pipeline/config.rs"
    policies = rust_fields(source, "pub struct PolicyConfig", "\n}", r"^    pub (\w+):")
    others = rust_fields(source, "const OTHER_FIELDS", "];", r'"(\w+)"')
    fields = {item.name for item in dataclasses.fields(ServerConfig)}
    assert policies - fields == set()
    assert fields - policies - others == set()


@pytest.mark.parametrize(
    "kind",
    [
        ApiKeyConfig,
        CompressionConfig,
        CorsConfig,
        JwtConfig,
        RateLimitConfig,
        SecurityHeadersConfig,
        StaticFilesConfig,
    ],
)
def test_part_has_the_fields_of_its_rust_struct(kind):
    struct = f"pub struct {kind.__name__} "
    known = rust_fields("src/pipeline/config.rs", struct, "\n}", r"^    pub (\w+):")
    assert {item.name for item in dataclasses.fields(kind)} == known


def test_rust_limits_are_fields():
    known = rust_fields("src/server/limits.rs", "pub struct Limits", "\n}", r"^    pub (\w+):")
    known -= {"http2", "park_after"}  # read from the same object by these names; nobody's to set
    known |= rust_fields(
        "src/server/http2/limits.rs", "pub struct Http2Limits", "\n}", r'rename = "(\w+)"'
    )
    assert known - {item.name for item in dataclasses.fields(ServerConfig)} == set()


def test_documentation_is_up_to_date():
    written = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert written == _settings.documentation(), "run `make docs`"


@pytest.mark.usefixtures("everything_built")
def test_missing_file_or_directory_is_named_when_the_server_starts(tmp_path):
    static = StaticFilesConfig(directory=tmp_path / "none", route_prefix="/s")
    with pytest.raises(ValueError, match=r"static_files\[0\]\.directory: expected a directory"):
        ServerConfig(static_files=[static]).check_files()
    tls = TlsConfig(certfile=tmp_path / "c.pem", keyfile=tmp_path / "k.pem")
    with pytest.raises(ValueError, match=r"TlsConfig\.certfile: expected a file"):
        ServerConfig(tls=tls).check_files()


@pytest.mark.usefixtures("everything_built")
def test_key_that_everyone_can_read_is_a_warning(tmp_path):
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch(0o600)
    made = ServerConfig(tls=TlsConfig(certfile=tmp_path / "c.pem", keyfile=tmp_path / "k.pem"))
    assert made.check_files() == []
    (tmp_path / "k.pem").chmod(0o644)
    assert "k.pem" in made.check_files()[0]


def test_import_starts_no_thread_and_loads_nothing_optional():
    source = (
        "import sys, threading, spikard, spikard.config; spikard.config.ServerConfig();"
        "unwanted = {'pydantic', 'attrs', 'google', 'httpx', 'click', 'asyncio', 'msgspec'};"
        "print(sorted(unwanted & set(sys.modules)), threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "[] 1\n"


def test_construction_is_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ServerConfig()
