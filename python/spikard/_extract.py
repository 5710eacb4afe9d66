"""The slow pass: a request against a plan, in Python, complete.

Gives either every argument value of the route or one response with everything that is
wrong: all parameters and the body together (422), or what makes the body unreadable at all
(400, 415). It reads through `Request`, so that what hooks changed is what counts.
"""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Any

import msgspec

from spikard._codecs import MALFORMED, Codec
from spikard._out_of_range import MESSAGE, SEARCHED_BYTES, read_out_of_range
from spikard._plan import wire_name
from spikard._problems import problem
from spikard._violations import Error, Loc, error
from spikard.datastructures import FormData, MultiDict, UploadFile, form_pairs
from spikard.exceptions import HTTPException, RequestValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spikard._plan import BodyPlan, Leaf, Plan
    from spikard.datastructures import Request
    from spikard.responses import Response

__all__ = ["Extractor", "Unreadable", "model_value", "nested"]

KEY_DEPTH_LIMIT = 16
"""Levels of ``a[b][c]`` in one key; deeper ones are a plain name."""

_MISSING = object()


class Unreadable(HTTPException):
    """A body that cannot be read at all: 400 or 415."""


class Extractor:
    """Extracts the values of one plan.

    Args:
        plan: The route's plan.
        refuse: Makes the response of a `RequestValidationError` or `Unreadable`.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def values(self, request: Request, body: bytes | None, *, refused: bool = False) -> list[Any]:
        """Return the values of the leaves and, last, of the body.

        ``refused`` says that the body is UTF-8 and JSON by its media type, and that the decoder
        has refused it already.

        Raises:
            RequestValidationError: Everything that does not fit.
            Unreadable: The body is malformed, or of a type that the route does not take.
        """
        found: list[Error] = []
        values = [self._leaf(leaf, request, found) for leaf in self._plan.leaves]
        plan = self._plan.body
        if plan is not None:
            if refused and body:
                values.append(_refused_json(plan, body, found))
            else:
                values.append(_body(plan, request, body, found))
        return self._checked(values, found)

    async def from_request(self, request: Request) -> list[Any]:
        """Return the values, reading the body as the plan needs it; raises as `values`."""
        plan = self._plan.body
        if plan is None or plan.media != "form":
            return self.values(request, None if plan is None else await request.body())
        found: list[Error] = []
        values = [self._leaf(leaf, request, found) for leaf in self._plan.leaves]
        values.append(await _form(plan, request, found))
        return self._checked(values, found)

    def _checked(self, values: list[Any], found: list[Error]) -> list[Any]:
        if not found:
            return values
        if len(found) == 1:
            raise RequestValidationError(found)
        unique = {(item["type"], tuple(item["loc"]), item["msg"]): item for item in found}
        raise RequestValidationError(list(unique.values()))

    def _leaf(self, leaf: Leaf, request: Request, found: list[Error]) -> Any:
        if leaf.source == "body":
            return None
        if leaf.model:
            return _model(leaf, request, found)
        raw = _raw(leaf, request)
        if raw is _MISSING:
            return _absent(leaf, found)
        for codec in (leaf.converter, leaf.codec):
            if codec is None:
                continue
            value = _converted(codec, codec.coerce(raw), leaf.loc, raw, found)
            if value is _MISSING:
                return None
            if codec is leaf.codec:
                return value
        return raw


def _converted(codec: Codec, value: Any, loc: Loc, shown: Any, found: list[Error]) -> Any:
    """Return the value, or note what is wrong with it and return the sentinel."""
    try:
        return codec.from_builtins(value)
    except RecursionError:
        raise malformed() from None
    except (ValueError, TypeError, ArithmeticError) as exc:
        found.extend(_explained(codec, value, loc, shown, exc))
        return _MISSING


def _explained(
    codec: Codec, value: Any, loc: Loc, shown: Any, failure: Exception | None = None
) -> list[Error]:
    try:
        errors = codec.explain(value, loc, shown, failure)
    except RecursionError:
        raise malformed() from None
    return _without_input(errors) if codec.is_secret() else errors


def _without_input(errors: list[Error]) -> list[Error]:
    for item in errors:
        item.pop("input", None)
    return errors


def _absent(leaf: Leaf, found: list[Error]) -> Any:
    parameter = leaf.parameter
    if parameter.default_factory is not None:
        return parameter.default_factory()
    if parameter.required:
        found.append(error("missing", leaf.loc, "Field required", None))
        return None
    return parameter.default


def _raw(leaf: Leaf, request: Request) -> Any:
    """Return the raw string, the list of them, or the sentinel."""
    name = leaf.name
    if leaf.source == "path":
        return request.path_params.get(name, _MISSING)
    if leaf.source == "cookie":
        return request.cookies.get(name, _MISSING)
    source: Any = request.headers if leaf.source == "header" else request.query_params
    if leaf.many:
        values = source.getlist(name) or source.getlist(name + "[]")
        return values or _MISSING
    return source.get(name, _MISSING)


def model_value(leaf: Leaf, request: Request) -> Any:
    """Return the value of a parameter model; raises when it does not fit."""
    if leaf.codec is not None and leaf.codec.from_request is not None:
        return leaf.codec.from_request(request)
    found: list[Error] = []
    value = _model(leaf, request, found)
    if found:
        raise RequestValidationError(found)
    return value


def _model(leaf: Leaf, request: Request, found: list[Error]) -> Any:
    given, whole = _members(leaf, request)
    codec = leaf.codec
    if codec is None:
        return given
    if not given and not leaf.parameter.required:
        return _absent(leaf, found)
    loc: Loc = leaf.loc if whole else (*leaf.loc, leaf.name)
    if not given and not whole:
        return _absent(leaf, found)
    value = _converted(codec, codec.coerce(given), loc, given, found)
    return None if value is _MISSING else value


def _members(leaf: Leaf, request: Request) -> tuple[dict[str, Any], bool]:
    """Return what fills a model: the whole source, or what is nested under the name."""
    if leaf.source == "cookie":
        return dict(request.cookies), True
    if leaf.source == "header":
        fields: dict[str, Any] = {}
        for name, value in request.headers.multi_items():
            _append(fields, name.replace("-", "_"), value)
            if "-" in name:
                _append(fields, name, value)
        return fields, True
    values = nested(request.query_params.multi_items())
    inner = values.get(leaf.name)
    if isinstance(inner, dict):
        return inner, False
    return values, True


def _append(fields: dict[str, Any], name: str, value: Any) -> None:
    if name not in fields:
        fields[name] = value
    elif isinstance(fields[name], list):
        fields[name].append(value)
    else:
        fields[name] = [fields[name], value]


_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as an object: ``a[b][c]=1`` nests, ``a[]=1`` and repeated keys are lists."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        match = _KEY.fullmatch(key)
        if match is None or key.count("[") > KEY_DEPTH_LIMIT:
            _append(result, key, value)
            continue
        _place(result, [match[1], *match[2][1:-1].split("][")], value)
    return result


def _place(target: dict[str, Any], steps: list[str], value: Any) -> None:
    for step, following in itertools.pairwise(steps):
        if following == "":
            items = target.setdefault(step, [])
            if isinstance(items, list):
                items.append(value)
            return
        inner = target.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        target = inner
    _append(target, steps[-1], value)


# --- the body -------------------------------------------------------------------------------


def malformed(detail: str = "Invalid request format") -> Unreadable:
    """Return the error of a body that is not what its content type says."""
    return Unreadable(400, detail)


def _unsupported(media: str) -> Unreadable:
    return Unreadable(
        415,
        f"Unsupported media type '{media[:100]}'",
        type="https://spikard.dev/errors/unsupported-media-type",
        title="Unsupported Media Type",
    )


def _refuse_coded(request: Request) -> None:
    """Refuse a compressed body (RFC 9110 §15.5.16): what it grows to has no limit."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise Unreadable(
            415,
            f"Unsupported content encoding '{coding[:100]}'",
            headers={"accept-encoding": "identity"},
            type="https://spikard.dev/errors/unsupported-content-encoding",
            title="Unsupported Content Encoding",
        )


def media_type(request: Request) -> tuple[str, str | None]:
    """Return the body's media type in lower case, empty when absent, and its charset."""
    return _media_type(request.headers.get("content-type", ""))


@functools.lru_cache(maxsize=64)  # clients send few; a head has its limit
def _media_type(field: str) -> tuple[str, str | None]:
    essence, _, rest = field.partition(";")
    charset = None
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return essence.strip().lower(), charset


def is_json(media: str) -> bool:
    """Return whether a media type is JSON; an absent one counts."""
    return media in ("", "application/json") or (media.endswith("+json") and media.count("/") == 1)


def _refuse_broken_text(body: bytes) -> None:
    """Refuse JSON that is not UTF-8 (RFC 8259 §8.1), also where no decoder would look."""
    try:
        bytes(body).decode()
    except UnicodeDecodeError:
        raise malformed() from None


_MSGPACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
_URLENCODED = "application/x-www-form-urlencoded"


def _body(plan: BodyPlan, request: Request, body: bytes | None, found: list[Error]) -> Any:
    if not body:
        return _no_body(plan, found)
    if plan.media == "raw":
        return bytes(body)
    _refuse_coded(request)
    media, charset = media_type(request)
    if plan.media_type is not None and media and media != plan.media_type:
        raise _unsupported(media)
    if is_json(media) and charset not in (None, "utf-8", "utf8", "us-ascii"):
        raise Unreadable(
            415,
            f"Unsupported charset '{charset[:100] if charset else ''}' for JSON. "
            "Only UTF-8 is supported.",
            type="https://spikard.dev/errors/unsupported-charset",
            title="Unsupported Charset",
        )
    if is_json(media):
        _refuse_broken_text(body)
        return _decoded(plan, body, plan.codec.decode_json, _refused_json, found)
    if media in _MSGPACK:
        return _decoded(plan, body, plan.codec.decode_msgpack, _refused_msgpack, found)
    if media == _URLENCODED and plan.media != "text":
        return _fields(plan, FormData(form_pairs(bytes(body))), found)
    if media.startswith("text/") and plan.media == "text":
        return _text(plan, body, charset, found)
    raise _unsupported(media)


def _no_body(plan: BodyPlan, found: list[Error]) -> Any:
    if not plan.required:
        return plan.absent()
    if plan.media in ("raw", "text"):
        # Nothing is an octet string too, and a text, unless its constraints say otherwise.
        nothing = b"" if plan.media == "raw" else ""
        value = _converted(plan.codec, nothing, ("body",), nothing, found)
        return None if value is _MISSING else value
    if plan.parts:
        found.extend(_explained(plan.codec, {}, ("body",), {}))
    else:
        found.append(error("missing", ("body",), "Field required", None))
    return None


def _decoded(
    plan: BodyPlan,
    body: bytes,
    typed: Callable[[Any], Any],
    refused: Callable[[BodyPlan, bytes, list[Error]], Any],
    found: list[Error],
) -> Any:
    try:
        return typed(body)
    except RecursionError:
        raise malformed() from None
    except (ValueError, TypeError, ArithmeticError):
        pass
    return refused(plan, body, found)


def _refused_json(plan: BodyPlan, body: bytes, found: list[Error]) -> Any:
    """Return the value of a JSON body that the decoder has refused, or note what is wrong."""
    from spikard._spikard import may_hold_whole_fraction

    try:
        value = msgspec.json.decode(body)
    except msgspec.ValidationError:
        _note_out_of_range(plan, body, found)
        return None
    except (msgspec.DecodeError, ValueError, *MALFORMED):
        raise malformed() from None
    return _refused(plan, value, may_hold_whole_fraction(body), found)


def _refused_msgpack(plan: BodyPlan, body: bytes, found: list[Error]) -> Any:
    """Do the same for a MessagePack body."""
    try:
        value = msgspec.msgpack.decode(body)
    except msgspec.ValidationError as exc:  # a time that no value can hold
        found.append(error("validation_error", ("body",), str(exc), None))
        return None
    except (msgspec.DecodeError, ValueError, *MALFORMED):
        raise malformed() from None
    return _refused(plan, value, True, found)


def _refused(plan: BodyPlan, value: Any, may_be_whole: bool, found: list[Error]) -> Any:
    # JSON has one kind of number: 1.0 is an integer there, which the decoder does not see.
    try:
        if may_be_whole:
            whole = whole_numbers(value)
        else:
            whole, errors = value, plan.codec.violations(value, ("body",), value)
            if errors:
                found.extend(_without_input(errors) if plan.codec.is_secret() else errors)
                return None
    except RecursionError:
        raise malformed() from None
    made = _converted(plan.codec, whole, ("body",), value, found)
    return None if made is _MISSING else made


def _note_out_of_range(plan: BodyPlan, body: bytes, found: list[Error]) -> None:
    """Note what is wrong with a body that holds a number which no value can."""
    if len(body) > SEARCHED_BYTES:
        found.append(error("validation_error", ("body",), MESSAGE, None))
        return
    try:
        value = read_out_of_range(body)
        whole = whole_numbers(value)
    except (ValueError, *MALFORMED):
        raise malformed() from None
    refused = msgspec.ValidationError(MESSAGE)
    errors = _explained(plan.codec, whole, ("body",), value, refused)
    found.extend(errors or [error("validation_error", ("body",), MESSAGE, None)])


def whole_numbers(value: Any) -> Any:
    """Return a decoded JSON value with ``2.0`` as ``2`` (JSON Schema, Core §6.3)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole_numbers(each) for each in value]
    if isinstance(value, dict):
        return {key: whole_numbers(each) for key, each in value.items()}
    return value


def _text(plan: BodyPlan, body: bytes, charset: str | None, found: list[Error]) -> Any:
    try:
        text = bytes(body).decode(charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        raise malformed("the body is not text in its charset") from None
    value = _converted(plan.codec, text, ("body",), text, found)
    return None if value is _MISSING else value


def _fields(plan: BodyPlan, fields: MultiDict, found: list[Error]) -> Any:
    given = nested(fields.multi_items())
    value = plan.codec.coerce(given)
    errors: list[Error] = []
    built = _converted(plan.codec, value, ("body",), value, errors)
    rules = [part for part in plan.parts if part[0].file_rule is not None]
    files = {wire_name(parameter) for parameter, _ in rules}
    for each in errors:
        if len(each["loc"]) > 1 and each["loc"][1] in files:
            each["loc"][0] = "files"
    found.extend(errors)
    if built is _MISSING:
        return None
    for parameter, attribute in rules:
        file = getattr(built, attribute)
        if file is not None and parameter.file_rule is not None:
            found.extend(parameter.file_rule.violations(wire_name(parameter), file))
    return built


async def _with_content(plan: BodyPlan, name: str, value: Any) -> tuple[str, Any]:
    """Return a form's item, the content instead of the file where that is asked for."""
    if name.removesuffix("[]") not in plan.octets:
        return name, value
    return name, await value.aread() if isinstance(value, UploadFile) else value.encode()


async def _form(plan: BodyPlan, request: Request, found: list[Error]) -> Any:
    media, _ = media_type(request)
    if media not in (_URLENCODED, "multipart/form-data"):
        body = await request.body()
        if body and plan.multipart:
            raise _unsupported(media)
        return _body(plan, request, body, found)
    _refuse_coded(request)
    fields = await request.form()
    if plan.octets:
        fields = FormData([await _with_content(plan, *item) for item in fields.multi_items()])
    if not fields and not plan.required:
        return plan.absent()
    return _fields(plan, fields, found)


def refusal(exc: HTTPException) -> Response:
    """Return the response of what `Extractor` raises, without the application's handlers."""
    from spikard._problems import problem_of

    return problem_of(exc)


def unexplained() -> Response:
    """Return the answer when quick extraction failed and the slow pass finds no fault: ours."""
    return problem(500)
