"""The OpenAPI 3.1 document of an application, made from the plans that serve its requests."""

# Schemas are JSON of any shape: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

from __future__ import annotations

import http
import inspect
import re
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec

from spikard._codecs import has_own_codec, is_class, surface
from spikard._components import PREFIX, Components, default_of
from spikard._merge import merge_document
from spikard._plan import converter_type
from spikard._result import (
    JSON_LINES,
    event_type,
    item_type,
    mentions_stream,
    result_type,
)
from spikard._signature import MISSING
from spikard.config import OpenApiConfig, ServerConfig
from spikard.datastructures import UploadFile
from spikard.responses import RedirectResponse, Response
from spikard.routing import media_type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spikard._plan import BodyPlan, Leaf
    from spikard._signature import Parameter
    from spikard.app import Spikard
    from spikard.routing import BoundRoute

__all__ = ["document"]

Schema = dict[str, Any]

METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
"""Methods that a path item of OpenAPI 3.1 has a field for; others are left out."""

_PARAMETER = re.compile(r"\{([^{}:]*)(?::[^{}]*)?\}")
_IN = {"path": "path", "query": "query", "header": "header", "cookie": "cookie"}
_DESCRIBED_ELSEWHERE = ("accept", "content-type", "authorization")
"""Headers that OpenAPI 3.1 §4.8.12 keeps for content negotiation and security schemes."""

_PROBLEM = "application/problem+json"


def document(app: Spikard, config: ServerConfig | None = None) -> dict[str, Any]:
    """Return the document of an application.

    Args:
        app: It is frozen if it is not yet.
        config: Of the server that serves it; default: the application's own.

    Raises:
        RegistrationError: As `Spikard.freeze`, which may also raise its other errors.
        RouteError: A document that was merged describes a method of a path once more.
    """
    app.freeze()
    made = _Builder(app, config or app.config or ServerConfig()).build()
    for other in app.merged_documents:
        merge_document(made, other)
    return made


class _Builder:
    """Collects the operations of one document."""

    def __init__(self, app: Spikard, config: ServerConfig) -> None:
        self._app = app
        self._config = config
        self._info = config.openapi or OpenApiConfig()
        self._components = Components()
        self._later: list[Callable[[dict[str, Schema]], None]] = []
        self._paths: dict[str, tuple[str, dict[str, Any]]] = {}
        self._ids: set[str] = set()
        self._tags: dict[str, None] = {}
        self._answers: dict[str, tuple[str, str]] = {}
        self._schemes: dict[str, dict[str, Any]] = {}

    def build(self) -> dict[str, Any]:
        for route in self._app.routes:
            if route.include_in_schema and route.route.protocol != "websocket":
                self._add(route)
        schemas = self._components.resolve()
        for finish in self._later:
            finish(schemas)
        components: dict[str, Any] = {}
        if self._answers:
            components["responses"] = self._shared_answers(schemas)
        if schemas:
            components["schemas"] = dict(sorted(schemas.items()))
        schemes = self._security_schemes()
        if schemes:
            components["securitySchemes"] = schemes
        made: dict[str, Any] = {"openapi": "3.1.0", "info": self._described()}
        if self._info.servers:
            made["servers"] = [_given(each, "url", "description") for each in self._info.servers]
        elif self._config.root_path:
            made["servers"] = [{"url": self._config.root_path}]
        made["paths"] = dict(self._paths.values())
        if components:
            made["components"] = components
        if self._tags:
            made["tags"] = [{"name": tag} for tag in self._tags]
        return made

    def _described(self) -> dict[str, Any]:
        info, defaults = self._info, OpenApiConfig()
        title = self._app.title if info.title == defaults.title else None
        version = self._app.version if info.version == defaults.version else None
        made: dict[str, Any] = {"title": title or info.title, "version": version or info.version}
        if info.description:
            made["description"] = info.description
        if info.contact is not None:
            made["contact"] = _given(info.contact, "name", "email", "url")
        if info.license is not None:
            made["license"] = _given(info.license, "name", "url")
        return made

    # Operations

    def _add(self, route: BoundRoute) -> None:
        names = [match[1] for match in _PARAMETER.finditer(route.path)]
        path = _PARAMETER.sub(r"{\1}", route.path)
        # Two paths that differ in nothing but parameters' names are one to OpenAPI: the first wins.
        path, item = self._paths.setdefault(_PARAMETER.sub("{}", route.path), (path, {}))
        shown = [match[1] for match in _PARAMETER.finditer(path)]
        renamed = dict(zip(names, shown, strict=True))
        for method in route.methods:
            if method in METHODS:
                item[method.lower()] = self._operation(route, method, path, renamed)

    def _operation(
        self, route: BoundRoute, method: str, path: str, renamed: dict[str, str]
    ) -> dict[str, Any]:
        options = route.options
        summary, description = _texts(route)
        name = self._operation_id(route, method, path)
        made: dict[str, Any] = {}
        if route.tags:
            made["tags"] = list(route.tags)
            self._tags.update(dict.fromkeys(route.tags))
        made["summary"] = summary
        if description:
            made["description"] = description
        made["operationId"] = name
        parameters = self._parameters(route, name, renamed)
        if parameters:
            made["parameters"] = parameters
        plan = route.plan
        if plan is not None and plan.body is not None:
            body = self._body(plan.body, name)
            if body is not None:
                made["requestBody"] = body
        made["responses"] = self._responses(route, method, name)
        self._later.append(lambda _: merge(made, options.get("openapi_extra") or {}))
        if options.get("deprecated"):
            made["deprecated"] = True
        security = self._security(route)
        if security:
            made["security"] = security
        return made

    def _operation_id(self, route: BoundRoute, method: str, path: str) -> str:
        words = re.sub(r"\W+", "_", path).strip("_")
        name = re.sub(r"\W+", "_", route.name).strip("_")
        made = "_".join(each for each in (name, words, method.lower()) if each)
        given = route.options.get("operation_id")
        if given:
            made = given if given not in self._ids else f"{given}_{method.lower()}"
        unique, number = made, 2
        while unique in self._ids:
            unique, number = f"{made}_{number}", number + 1
        self._ids.add(unique)
        return unique

    # Parameters

    def _parameters(
        self, route: BoundRoute, owner: str, renamed: dict[str, str]
    ) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        seen: set[tuple[str, str]] = set()
        for leaf in route.plan.leaves if route.plan is not None else ():
            marker = leaf.parameter.marker
            place = _IN.get(leaf.source)
            if place is None or (marker is not None and not marker.include_in_schema):
                continue
            name = renamed.get(leaf.name, leaf.name) if place == "path" else leaf.name
            if (place, name) in seen or (place == "header" and name in _DESCRIBED_ELSEWHERE):
                continue
            seen.add((place, name))
            parameter = self._parameter(leaf, place, name, owner)
            made.append(parameter)
            if leaf.model:
                self._later.append(_spread(leaf, parameter, made))
        for name, converter in route.path_names.items():
            if ("path", renamed[name]) not in seen:
                schema = self._components.schema(converter_type(converter), owner)
                made.append(
                    {"name": renamed[name], "in": "path", "required": True, "schema": schema}
                )
        return made

    def _parameter(self, leaf: Leaf, place: str, name: str, owner: str) -> dict[str, Any]:
        parameter = leaf.parameter
        made: dict[str, Any] = {"name": name, "in": place}
        if parameter.required or place == "path":
            made["required"] = True
        _describe(made, parameter)
        annotation = str if parameter.annotation is Any else parameter.annotation
        schema = made["schema"] = self._components.schema(annotation, f"{owner}_{name}")
        self._later.append(_annotation(schema, parameter))
        return made

    # Bodies

    def _body(self, body: BodyPlan, owner: str) -> dict[str, Any] | None:
        made: dict[str, Any] = {}
        encoding: dict[str, Any] = {}
        if body.parts:
            schema = self._composite(body, owner, encoding)
            if not schema["properties"]:
                return None
        else:
            schema = self._components.schema(body.codec.type, f"{owner}_body")
        if body.media == "raw":
            media = [body.media_type or "application/octet-stream"]
            schema = {"type": "string", "format": "binary"}
        elif body.media == "text":
            media = [body.media_type or "text/plain"]
        elif body.multipart:
            media = ["multipart/form-data"]
        elif body.media == "form":
            media = ["application/x-www-form-urlencoded", "multipart/form-data"]
            if has_own_codec(body.codec.type):
                media.insert(0, "application/json")
        else:
            media = [body.media_type or "application/json"]
            if body.media_type is None:
                media.append("application/msgpack")
        made["content"] = {}
        for each in media:
            made["content"][each] = {"schema": schema}
            if encoding and each.startswith("multipart/"):
                made["content"][each]["encoding"] = encoding
        if body.required:
            made["required"] = True
        return made

    def _composite(self, body: BodyPlan, owner: str, encoding: dict[str, Any]) -> Schema:
        properties: dict[str, Any] = {}
        required: list[str] = []
        for parameter, _ in body.parts:
            marker = parameter.marker
            if marker is not None and not marker.include_in_schema:
                continue
            name = (marker.alias if marker is not None else None) or parameter.name
            annotation = parameter.annotation
            if name in body.octets:
                annotation = _as_file(annotation)
            schema = self._components.schema(annotation, f"{owner}_{name}")
            properties[name] = schema
            self._later.append(_annotation(schema, parameter, described=True))
            if parameter.required:
                required.append(name)
            if parameter.file_rule is not None and parameter.file_rule.content_types:
                kinds = ", ".join(parameter.file_rule.content_types)
                encoding[name] = {"contentType": kinds}
        made: Schema = {"type": "object", "properties": properties}
        if required:
            made["required"] = required
        return made

    # Answers

    def _responses(self, route: BoundRoute, method: str, owner: str) -> dict[str, Any]:
        status = str(route.options.get("status_code", 200))
        made: dict[str, Any] = {}
        code, success = self._success(route, method, owner)
        made[code or status] = success
        for name, title, detail in self._refusals(route):
            self._answers[name] = (title, detail)
            made[name] = {"$ref": f"#/components/responses/{title}"}
        for given, what in route.responses.items():
            key = str(given)
            made[key] = self._declared(what, key, owner, made.get(key))
        return dict(sorted(made.items()))

    def _success(
        self, route: BoundRoute, method: str, owner: str
    ) -> tuple[str | None, dict[str, Any]]:
        """Return the response of a plain result, and its status where the type fixes one."""
        options = route.options
        status = options.get("status_code", 200)
        made: dict[str, Any] = {
            "description": options.get("response_description") or _phrase(status)
        }
        if method == "HEAD" or status in (204, 205, 304) or status < 200:
            return None, made
        if route.route.protocol == "sse":
            schema: Schema = {"type": "string"}
            event = options.get("event_schema")
            declared = event_type(route.route.signature.returns)
            if event is None and declared is not MISSING:
                event = self._components.schema(declared, f"{owner}_event", "serialization")
            content: dict[str, Any] = {"schema": schema}
            if event is not None:
                schema["contentMediaType"] = "application/json"
                schema["contentSchema"] = event
            made["content"] = {"text/event-stream": content}
            return None, made
        returns: Any = options.get("response_model", route.route.signature.returns)
        if returns is None and "response_model" in options:
            returns = MISSING
        media = media_type_of(options)
        response_schema = options.get("response_schema")
        if response_schema is not None:
            from typing import Annotated

            from spikard._schemas import JsonSchema

            returns = Annotated[Any, JsonSchema(response_schema)]
        item = item_type(returns)
        if item is not MISSING:
            # OpenAPI 3.1 has no word for the values of a sequence: a line is a string of JSON.
            line = self._components.schema(item, f"{owner}_item", "serialization")
            schema = {"type": "string", "contentMediaType": "application/json"}
            schema["contentSchema"] = line
            made["content"] = {media or JSON_LINES.decode(): {"schema": schema}}
            return None, made
        declared = result_type(returns)
        if declared is MISSING:
            code, kind = _untyped(returns)
            if code is not None:
                return code, {"description": _phrase(int(code))}
            kind = media or kind
            if kind is not None:
                schema = {} if kind.endswith("json") else {"type": "string"}
                made["content"] = {kind: {"schema": schema}}
            return None, made
        schema = self._components.schema(declared, f"{owner}_response", "serialization")
        made["content"] = {media or "application/json": {"schema": schema}}
        return None, made

    def _declared(
        self, what: Any, status: str, owner: str, known: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return a response of ``responses=``: a type, or a dict of OpenAPI's with a ``model``."""
        given: dict[str, Any] = dict(what) if isinstance(what, dict) else {"model": what}
        model = given.pop("model", None)
        made = dict(known) if known is not None and "$ref" not in known else {}
        made.update(given)
        if "description" not in made:
            made["description"] = _phrase(int(status)) if status.isdigit() else status
        if model is not None:
            schema = self._components.schema(model, f"{owner}_{status}", "serialization")
            made["content"] = {**made.get("content", {}), "application/json": {"schema": schema}}
        return made

    def _refusals(self, route: BoundRoute) -> Iterator[tuple[str, str, str]]:
        """Yield status, component and text of what may be answered instead of the handler."""
        plan = route.plan
        if plan is not None and plan.body is not None and plan.body.media != "raw":
            yield "400", "BadRequest", "The body is not what its content type says"
            yield "415", "UnsupportedMediaType", "The body's content type is not accepted"
        if plan is not None and plan.body is not None:
            yield "413", "ContentTooLarge", "The body is larger than the server accepts"
        schemes = plan.security.values() if plan is not None else ()
        if self._protected(route) or any(scheme.auto_error for scheme, _ in schemes):
            yield "401", "Unauthorized", "Credentials are missing or invalid"
            if route.options.get("scopes"):
                yield "403", "Forbidden", "The token lacks a scope"
        if plan is not None and (plan.body is not None or any(map(_can_fail, plan.leaves))):
            yield "422", "ValidationError", "The request does not fit its description"
        if self._config.rate_limit is not None:
            yield "429", "TooManyRequests", "Too many requests; `retry-after` says when to return"

    def _shared_answers(self, schemas: dict[str, Schema]) -> dict[str, Any]:
        problem = _free_name("ProblemDetails", schemas)
        schemas[problem] = _PROBLEM_SCHEMA
        made: dict[str, Any] = {}
        for status, (name, text) in sorted(self._answers.items()):
            schema: Schema = {"$ref": PREFIX + problem}
            if status == "422":
                validation = _free_name("ValidationProblem", schemas)
                schemas[validation] = {"allOf": [schema, _VALIDATION_SCHEMA]}
                schema = {"$ref": PREFIX + validation}
            made[name] = {"description": text, "content": {_PROBLEM: {"schema": schema}}}
            header = _ANSWER_HEADERS.get(status)
            if header is not None:
                made[name]["headers"] = header
        return made

    # Security

    def _protected(self, route: BoundRoute) -> bool:
        config = self._config
        has_auth = config.jwt_auth is not None or config.api_key_auth is not None
        return has_auth and route.options.get("require_auth", True)

    def _security(self, route: BoundRoute) -> list[dict[str, list[str]]]:
        both: dict[str, list[str]] = {}
        for name, (scheme, scopes) in route.plan.security.items() if route.plan else ():
            self._schemes[name] = scheme.model
            both[name] = list(scopes)
        if not self._protected(route):
            return [both] if both else []
        if self._config.jwt_auth is not None:
            # OpenAPI 3.1 §4.8.30: other schemes than oauth2 may list roles here.
            both["bearerAuth"] = list(route.options.get("scopes", ()))
        keys = self._config.api_key_auth
        if keys is None:
            return [both]
        ways = [{"apiKeyAuth": [], **both}]
        if keys.query_param is not None:
            ways.append({"apiKeyQuery": [], **both})
        return ways

    def _security_schemes(self) -> dict[str, Any]:
        made: dict[str, Any] = dict(self._schemes)
        if self._config.jwt_auth is not None:
            made["bearerAuth"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        keys = self._config.api_key_auth
        if keys is not None:
            made["apiKeyAuth"] = {"type": "apiKey", "in": "header", "name": keys.header_name}
            if keys.query_param is not None:
                made["apiKeyQuery"] = {"type": "apiKey", "in": "query", "name": keys.query_param}
        for name, given in self._info.security_schemes.items():
            scheme = _given(given, "type", "description", "name", "scheme")
            if given.location is not None:
                scheme["in"] = given.location
            if given.bearer_format is not None:
                scheme["bearerFormat"] = given.bearer_format
            made[name] = scheme
        return made


def merge(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Merge objects into objects, add arrays to arrays, and replace everything else."""
    for name, value in changes.items():
        known = target.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            target[name] = known + value
        else:
            target[name] = value


def _as_file(annotation: Any) -> Any:
    """Return a type with files in the place of their content."""
    if annotation is bytes:
        return UploadFile
    inner = tuple(_as_file(each) for each in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return Union[inner]  # noqa: UP007 - members from a tuple
    return GenericAlias(list, inner) if get_origin(annotation) is list else annotation


def _given(config: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Response"


def _free_name(name: str, taken: dict[str, Any]) -> str:
    while name in taken:
        name = f"Spikard{name}"
    return name


def _texts(route: BoundRoute) -> tuple[str, str]:
    """Return summary and description: as given, else the docstring's, else the handler's name."""
    options = route.options
    doc = inspect.cleandoc(route.route.signature.doc or "")
    # What a docstring says to Python's readers (arguments, examples) is no part of the API.
    text = re.split(r"\n\s*(?:Args|Arguments|Returns|Raises|Yields|Example|Examples):\s*\n", doc)[0]
    text = text.partition("\f")[0].strip()
    first, _, rest = text.partition("\n\n")
    summary = " ".join(first.split()).removesuffix(".")
    named = route.name.replace("_", " ").strip().capitalize()
    if route.name == "<lambda>":
        named = f"{route.methods[0]} {route.path}"
    return (
        options.get("summary") or summary or named,
        options.get("description") or rest.strip(),
    )


def _describe(made: dict[str, Any], parameter: Parameter) -> None:
    marker = parameter.marker
    if marker is None:
        return
    if marker.description:
        made["description"] = marker.description
    if marker.deprecated:
        made["deprecated"] = True


def _annotation(
    schema: Schema, parameter: Parameter, *, described: bool = False
) -> Callable[[dict[str, Schema]], None]:
    """Return what adds to a filled schema what the parameter says beside its type."""

    def annotate(_: dict[str, Schema]) -> None:
        default = default_of(parameter)
        if default is not msgspec.UNSET:
            schema["default"] = default
        marker = parameter.marker
        if marker is None:
            return
        if marker.title:
            schema["title"] = marker.title
        if marker.examples:
            schema["examples"] = list(marker.examples)
        if described:
            _describe(schema, parameter)

    return annotate


def _spread(
    leaf: Leaf, parameter: dict[str, Any], made: list[dict[str, Any]]
) -> Callable[[dict[str, Schema]], None]:
    """Return what puts a parameter model's fields in the place of the model."""

    def spread(schemas: dict[str, Schema]) -> None:
        schema = _object_of(parameter["schema"], schemas)
        if schema is None:
            parameter.update({"style": "deepObject", "explode": True})
            return
        required = schema.get("required", ()) if leaf.parameter.required else ()
        taken = {(each["in"], each["name"]) for each in made}
        fields: list[dict[str, Any]] = []
        for name, inner in schema["properties"].items():
            if leaf.source == "header":
                name = name.replace("_", "-").lower()
            if (parameter["in"], name) in taken:
                continue
            field = {"name": name, "in": parameter["in"], "schema": inner}
            if name in required or name.replace("-", "_") in required:
                field["required"] = True
            if _object_of(inner, schemas) is not None:
                field.update({"style": "deepObject", "explode": True})
            fields.append(field)
        index = next(i for i, each in enumerate(made) if each is parameter)
        made[index : index + 1] = fields

    return spread


def _object_of(schema: Schema, schemas: dict[str, Schema]) -> Schema | None:
    """Return the object that a schema is, or refers to, or may be beside null."""
    for each in (schema, *schema.get("anyOf", ())):
        reference = each.get("$ref", "")
        target = schemas.get(reference.removeprefix(PREFIX)) if reference else each
        if target is not None and "properties" in target:
            return target
    return None


def _can_fail(leaf: Leaf) -> bool:
    """Whether a request can lack the value, or bring one that does not fit."""
    if leaf.codec is not None or leaf.converter is not None or leaf.model:
        return True
    return leaf.source != "path" and leaf.parameter.required


def _untyped(returns: Any) -> tuple[str | None, str | None]:
    """Return status and media type of what is sent as it is: responses, bytes, iterators."""
    for part in surface(returns):
        if is_class(part) and issubclass(part, RedirectResponse):
            return "307", None
        if is_class(part) and issubclass(part, Response):
            return None, part.media_type or "*/*"
    if mentions_stream(returns):
        return None, "application/octet-stream"
    cls = get_origin(returns) or returns
    if cls is bytes:
        return None, "application/octet-stream"
    return None, "application/json"


_PROBLEM_SCHEMA: Schema = {
    "title": "ProblemDetails",
    "description": "A problem report, RFC 9457.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "examples": ["about:blank"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {},
    },
    "required": ["type", "title", "status"],
}

_VALIDATION_SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"type": "string"}},
                    "msg": {"type": "string"},
                    "input": {},
                    "ctx": {"type": "object"},
                },
                "required": ["type", "loc", "msg"],
            },
        }
    },
    "required": ["errors"],
}

_ANSWER_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"www-authenticate": {"schema": {"type": "string"}}},
    "429": {"retry-after": {"description": "Seconds", "schema": {"type": "integer"}}},
}
