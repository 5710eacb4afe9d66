"""Groups G and Q: what a client can send wrong, and the statuses that may answer it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

JSON = {"content-type": "application/json"}
TYPED = ("struct", "model", "record", "numbers", "choices", "schema")
EVERY = (*TYPED, "dict", "any", "self-read")
BAD = (400,)
UNFIT = (400, 422)


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        id: Of limits and faults, group and number, with a word.
        statuses: One of these answers it.
        contains: Is somewhere in the answer; `lacks` is nowhere.
        body: What the answer's JSON is.
    """

    id: str
    method: str
    target: str
    statuses: tuple[int, ...]
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    lacks: bytes | None = None
    body: Any = ...
    max_bytes: int = 8192


# id, JSON that is none
MALFORMED: list[tuple[str, bytes]] = [
    ("G01-arrays", b"[" * 100_000 + b"]" * 100_000),
    ("G01-arrays-open", b"[" * 100_000),
    ("G01-objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    ("G01-objects-open", b'{"a":' * 100_000),
    ("G01-recursive", b'{"n":1,"of":[' * 20_000 + b"]}" * 20_000),
    ("G01-in-a-member", b'{"n":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ("G03-string", b'{"n":1,"s":"\xff"}'),
    ("G03-key", b'{"n":1,"\xff":1}'),
    ("G03-truncated", b'{"n":1,"s":"\xc3"}'),
    ("G03-surrogate", b'{"n":1,"s":"\\ud800"}'),
    ("G03-bom", b'\xef\xbb\xbf{"n":1}'),
    ("G03-utf16", '{"n":1}'.encode("utf-16")),
    ("G03-utf32", '{"n":1}'.encode("utf-32")),
    ("G08-trailing", b'{"n":1} x'),
    ("G08-two", b'{"n":1}{"n":1}'),
    ("G08-control", b'{"n":1,"s":"a\x01"}'),
    ("G08-newline", b'{"n":1,"s":"a\n"}'),
    ("G08-zero", b'{"n":01}'),
    ("G08-plus", b'{"n":+1}'),
    ("G08-minus", b'{"n":-}'),
    ("G08-comma", b'{"n":1,"of":[1,]}'),
    ("G08-comma-object", b'{"n":1,}'),
    ("G08-nan", b'{"n":NaN}'),
    ("G08-infinity", b'{"n":Infinity}'),
    ("G08-quotes", b"{'n':1}"),
    ("G08-comment", b'{"n":1/*x*/}'),
    ("G08-exponent", b'{"n":1e}'),
    ("G08-word", b'{"n":nul}'),
    ("G08-blank", b" "),
    ("G08-escape", b'{"n":1,"s":"\\x"}'),
    ("G08-nul", b'{"n":1}\x00'),
]

# id, JSON whose number no integer field takes, or none at all
UNFIT_NUMBERS: list[tuple[str, bytes]] = [
    ("G06-5000", b'{"n":' + b"9" * 5000 + b"}"),
    ("G06-4301", b'{"n":' + b"9" * 4301 + b"}"),
    ("G06-negative", b'{"n":-' + b"9" * 5000 + b"}"),
    ("G06-1e400", b'{"n":1e400}'),
    ("G06-minus-1e400", b'{"n":-1e400}'),
]

# id, media type, what else the request says
MEDIA_TYPES: list[tuple[str, str, dict[str, str]]] = [
    ("G09-text", "text/plain", {}),
    ("G09-xml", "application/xml", {}),
    ("G09-octets", "application/octet-stream", {}),
    ("G09-none-such", "x", {}),
    ("G09-multipart", "multipart/form-data; boundary=b", {}),
    ("G09-utf16", "application/json; charset=utf-16", {}),
    ("G09-latin1", 'application/json; charset="iso-8859-1"', {}),
    ("G10-gzip", "application/json", {"content-encoding": "gzip"}),
    ("G10-br", "application/json", {"content-encoding": "br"}),
    ("G10-chain", "application/json", {"content-encoding": "gzip, gzip"}),
]

# id, target, statuses, the JSON that answers (… for any)
TARGETS: list[tuple[str, str, tuple[int, ...], Any]] = [
    ("Q01", "/one/a%00b", BAD, ...),
    ("Q01-nowhere", "/nowhere/a%00b", BAD, ...),
    ("Q02-overlong", "/one/%c0%ae%c0%ae", BAD, ...),
    ("Q02-ff", "/one/%ff", BAD, ...),
    ("Q02-query", "/query?i=%ff", BAD, ...),
    ("Q02-query-name", "/query?%ff=1", BAD, ...),
    ("Q03", "/one/%zz%1", BAD, ...),
    ("Q04", "/one/a%2fb", (200,), "a/b"),
    ("Q04-inner", "/inner/a%2Fb/x", (200,), "a/b"),
    ("Q04-twice", "/one/%252e", (200,), "%2e"),
    ("Q05-dots", "/one/a/../../ping", (404,), ...),
    ("Q05-encoded-dots", "/one/%2e%2e", (200,), ".."),
    ("Q05-slashes", "//one/x", (404,), ...),
    ("Q05-dot", "/./ping", (404,), ...),
    ("Q05-parameters", "/one/a;v=1", (200,), "a;v=1"),
    ("Q06", "/redirect?to=/a%0d%0ax-injected:1", (307,), ...),
    ("Q07-digits", "/query?i=" + "9" * 5000, UNFIT, ...),
    ("Q07-4301", "/query?i=" + "9" * 4301, UNFIT, ...),
    ("Q07-big", "/query?i=" + "9" * 100, (200,), [int("9" * 100), 0.0, False, []]),
    ("Q07-underscore", "/query?i=1_000", UNFIT, ...),
    ("Q07-arabic", "/query?i=%D9%A1", UNFIT, ...),
    ("Q07-fullwidth", "/query?i=%EF%BC%91", UNFIT, ...),
    ("Q07-space", "/query?i=%201", UNFIT, ...),
    ("Q07-newline", "/query?i=1%0a", UNFIT, ...),
    ("Q07-nul", "/query?i=1%00", UNFIT, ...),
    ("Q07-empty", "/query?i=", UNFIT, ...),
    ("Q07-float", "/query?f=1_0", UNFIT, ...),
    ("Q07-hex", "/query?f=0x1", UNFIT, ...),
    ("Q07-nan", "/query?f=nan", UNFIT, ...),
    ("Q07-infinity", "/query?f=inf", UNFIT, ...),
    ("Q07-1e400", "/query?f=1e400", UNFIT, ...),
    ("Q07-bool", "/query?b=2", UNFIT, ...),
    ("Q07-list", "/query?many=1&many=x", UNFIT, ...),
    ("Q07-path", "/number/" + "9" * 5000, UNFIT, ...),
    ("Q07-path-odd", "/number/1_0", UNFIT, ...),
    ("Q07-path-arabic", "/number/%D9%A1", UNFIT, ...),
    ("Q08-many", "/query?" + "&".join(f"p{n}=1" for n in range(1100)), BAD, ...),
    ("Q08-ampersands", "/query?" + "&" * 15_000, BAD, ...),
    ("Q09-last", "/query?i=1&i=2", (200,), [2, 0.0, False, []]),
    ("Q09-semicolon", "/query?i=1;f=2", UNFIT, ...),
    ("Q09-brackets", "/query?many[]=1&many[]=2", (200,), [0, 0.0, False, [1, 2]]),
    ("Q09-nested", "/nested?filter[a][b]=1", (200,), {"a": {"b": "1"}}),
    ("Q09-nested-deep", "/nested?filter" + "[a]" * 3000 + "=1", (200,), ...),
    ("Q09-nested-twice", "/nested?filter[a]=1&filter[a][b]=2", (200, 400, 422), ...),
    ("Q09-open", "/nested?filter[=1", (200, 400, 422), ...),
]


def cases() -> list[Case]:
    """Return every case."""
    made = [
        Case(f"{id}/{route}", "POST", f"/{route}", BAD, content, JSON)
        for id, content in MALFORMED
        for route in EVERY
    ]
    made += [
        Case(f"{id}/{route}", "POST", f"/{route}", UNFIT, content, JSON)
        for id, content in UNFIT_NUMBERS
        for route in (*TYPED, "dict", "any", "self-read")
    ]
    made += [
        Case(id, "POST", f"/{route}", (415,), b'{"n":1}', {"content-type": media, **more})
        for id, media, more in MEDIA_TYPES
        for route in (*TYPED[:4], "schema")
        # A multipart body is not JSON, but it is what a schema of an object may come as.
        if not (route == "schema" and media.startswith("multipart"))
    ]
    made += [Case(id, "GET", target, statuses, body=body) for id, target, statuses, body in TARGETS]
    long = b"x" * 1_000_000
    made += [
        Case("G02", "GET", "/deep", (500,)),
        Case("G07", "POST", "/struct", (200,), b'{"n":"x","n":1}', JSON),
        Case("G09-absent", "POST", "/struct", (200,), b'{"n":1}'),
        Case("G11-long", "POST", "/struct", (422,), b'{"n":"' + long + b'"}', JSON),
        Case("G11-long-model", "POST", "/model", (422,), b'{"n":"' + long + b'"}', JSON),
        Case("G11-long-name", "POST", "/numbers", (422,), b'{"' + long + b'":"x"}', JSON),
        Case(
            "G11-secret",
            "POST",
            "/login",
            (422,),
            b'{"user":1,"password":"hunter2"}',
            JSON,
            lacks=b"hunter2",
        ),
        Case(
            "G11-secret-missing",
            "POST",
            "/login",
            (422,),
            b'{"password":"hunter2hunter2"}',
            JSON,
            lacks=b"hunter2",
        ),
        Case(
            "G14-union",
            "POST",
            "/choices",
            (422,),
            b"[" + b"null," * 9_999 + b"null]",
            JSON,
            max_bytes=256 * 1024,
        ),
        Case(
            "G14-recursive",
            "POST",
            "/struct",
            (422,),
            b'{"n":1,"of":[' + b'{"n":"x"},' * 9_999 + b'{"n":"x"}]}',
            JSON,
            max_bytes=256 * 1024,
        ),
        Case("F16", "POST", "/form", (400, 413), b"a=1&" * 100_000, _FORM),
        Case("F17", "POST", "/form", (400, 413, 422), b"&" * 3_000_000, _FORM),
        Case("F-utf8", "POST", "/form", BAD, b"a=%ff", _FORM),
        Case("F-number", "POST", "/form", UNFIT, b"a=1&b=" + b"9" * 5000, _FORM),
    ]
    return made


_FORM = {"content-type": "application/x-www-form-urlencoded"}
