"""The OpenAPI document in FastAPI's shape, made from the plans that serve the requests."""

# Schemas are JSON of any shape: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

from __future__ import annotations

import copy
import http
import inspect
from typing import TYPE_CHECKING, Any

import pydantic
from pydantic.json_schema import GenerateJsonSchema

from spikard.compat.fastapi._bodies import BodyCodec, ModelCodec
from spikard.compat.fastapi._fields import Field, adapter_of, model_of
from spikard.compat.fastapi._planning import FastAPIPlanner
from spikard.compat.fastapi._streams import item_type, streamed_as
from spikard.compat.fastapi.params import Undefined
from spikard.encoders import jsonable_encoder
from spikard.openapi import merge
from spikard.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spikard._plan import Plan
    from spikard.compat.fastapi.routing import APIRoute

__all__ = ["get_openapi"]

Schema = dict[str, Any]

PREFIX = "#/components/schemas/"

_SOURCES = ("path", "query", "header", "cookie")
_WITH_BODY = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")
_RANGES = {
    "1XX": "Information",
    "2XX": "Success",
    "3XX": "Redirection",
    "4XX": "Client Error",
    "5XX": "Server Error",
    "DEFAULT": "Default Response",
}


def get_openapi(
    *,
    title: str,
    version: str,
    routes: Sequence[Any],
    openapi_version: str = "3.1.0",
    summary: str | None = None,
    description: str | None = None,
    webhooks: Sequence[Any] | None = None,
    tags: list[dict[str, Any]] | None = None,
    servers: list[dict[str, Any]] | None = None,
    terms_of_service: str | None = None,
    contact: dict[str, Any] | None = None,
    license_info: dict[str, Any] | None = None,
    separate_input_output_schemas: bool = True,
    external_docs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document of routes; the arguments are those of `FastAPI`."""
    info = {
        "title": title,
        "version": version,
        "summary": summary,
        "description": description,
        "termsOfService": terms_of_service,
        "contact": contact,
        "license": license_info,
    }
    builder = _Builder(separate_input_output_schemas)
    paths = builder.paths(_shown(routes))
    hooks = builder.paths(_shown(webhooks or ()))
    builder.resolve()
    components: dict[str, Any] = {}
    if builder.definitions:
        components["schemas"] = dict(sorted(builder.definitions.items()))
    if builder.schemes:
        components["securitySchemes"] = builder.schemes
    made: dict[str, Any] = {
        "openapi": openapi_version,
        "info": {name: value for name, value in info.items() if value},
        "servers": servers,
        "paths": paths,
        "webhooks": hooks,
        "components": components,
        "tags": tags,
        "externalDocs": external_docs,
    }
    kept = {name: value for name, value in made.items() if value or name == "paths"}
    document: dict[str, Any] = jsonable_encoder(kept)
    return document


def _shown(routes: Iterable[Any]) -> list[APIRoute]:
    from spikard.compat.fastapi.routing import APIRoute

    return [
        route
        for route in routes
        if isinstance(route, APIRoute)
        and route.include_in_schema
        and route.route.protocol != "websocket"
    ]


class _Builder:
    """Collects operations; places of schemas are filled in by `resolve`, all at once."""

    def __init__(self, separate: bool) -> None:
        self.definitions: dict[str, Schema] = {}
        self.schemes: dict[str, Any] = {}
        self._mode_of_output = "serialization" if separate else "validation"
        self._wanted: list[tuple[str, Any, Schema, str | None]] = []

    def paths(self, routes: Iterable[APIRoute]) -> dict[str, Any]:
        """Return the path items of routes."""
        made: dict[str, Any] = {}
        for route in routes:
            item = made.setdefault(route.path_format, {})
            for method in route.methods:
                item[method.lower()] = self._operation(route, method)
        return made

    def resolve(self) -> None:
        """Make every schema that was asked for, with common definitions."""
        generator = _Generator(ref_template=PREFIX + "{model}")
        inputs = [
            (index, mode, adapter.core_schema)
            for index, (mode, adapter, _, _) in enumerate(self._wanted)
        ]
        schemas, definitions = generator.generate_definitions(inputs)  # type: ignore[arg-type]
        for index, (mode, _, place, title) in enumerate(self._wanted):
            schema = copy.deepcopy(schemas[index, mode])  # type: ignore[index]
            if title is not None and "$ref" not in schema:
                schema["title"] = title
            if schema.get("default", 0) is None:
                del schema["default"]
            place.update(schema)
        for name, schema in definitions.items():
            self.definitions[name] = schema
            if isinstance(schema.get("description"), str):
                # What follows a form feed is not meant for the documentation.
                schema["description"] = schema["description"].partition("\f")[0]
            _drop_null_defaults(schema)

    def _schema(self, adapter: Any, title: str | None, mode: str = "validation") -> Schema:
        place: Schema = {}
        self._wanted.append((mode, adapter, place, title))
        return place

    def _of_field(self, field: Field) -> Schema:
        return self._schema(field.adapter, _title(field))

    def _output(self, annotation: Any, title: str) -> Schema:
        return self._schema(adapter_of(annotation), title, self._mode_of_output)

    # Operations

    def _operation(self, route: APIRoute, method: str) -> dict[str, Any]:
        plan = _plan_of(route)
        options: dict[str, Any] = {**route.options}
        made: dict[str, Any] = {}
        tags = [str(getattr(tag, "value", tag)) for tag in route.tags]
        if tags:
            made["tags"] = tags
        made["summary"] = options.get("summary") or route.name.replace("_", " ").title()
        description = options.get("description") or inspect.cleandoc(
            route.route.signature.doc or ""
        )
        description = description.partition("\f")[0].strip()
        if description:
            made["description"] = description
        made["operationId"] = route.unique_id
        if route.deprecated:
            made["deprecated"] = True
        security = self._security(plan)
        if security:
            made["security"] = security
        parameters = list(self._parameters(plan))
        if parameters:
            made["parameters"] = parameters
        body = plan.body.codec if plan.body is not None else None
        if isinstance(body, BodyCodec) and method in _WITH_BODY:
            made["requestBody"] = self._body(body, f"Body_{route.unique_id}")
        callbacks = [*_callbacks_of(route), *options.get("callbacks", ())]
        if callbacks:
            made["callbacks"] = {
                each.name: {each.path: self.paths([each])[each.path_format]}
                for each in _shown(callbacks)
            }
        made["responses"] = self._responses(route, plan, body is not None)
        extra = options.get("openapi_extra")
        if extra:
            merge(made, extra)
        return made

    def _security(self, plan: Plan) -> list[dict[str, list[str]]]:
        found = []
        for name, (scheme, scopes) in plan.security.items():
            self.schemes[name] = jsonable_encoder(scheme.model)
            found.append({name: list(scopes)})
        return found

    def _parameters(self, plan: Plan) -> Iterator[dict[str, Any]]:
        made: dict[tuple[str, str], dict[str, Any]] = {}
        for source in _SOURCES:
            for field, required in _flat_fields(plan, source):
                if field.marker is not None and not field.marker.include_in_schema:
                    continue
                parameter = self._parameter(field, source, required)
                key = (source, parameter["name"])
                if key not in made or required:
                    made[key] = parameter
        yield from made.values()

    def _parameter(self, field: Field, source: str, required: bool) -> dict[str, Any]:
        made: dict[str, Any] = {"name": field.alias, "in": source, "required": required}
        info = field.info
        if info.description:
            made["description"] = info.description
        made.update(_examples(field.marker))
        if info.deprecated:
            made["deprecated"] = True
        made["schema"] = self._of_field(field)
        return made

    # Bodies

    def _body(self, body: BodyCodec, name: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if any(field.required for field in body.fields):
            made["required"] = True
        content: dict[str, Any] = {}
        if body.embed:
            members: dict[str, Any] = {}
            for field in body.fields:
                said: dict[str, Any] = {**field.said, "alias": field.alias}
                members[field.name] = (field.annotation, pydantic.Field(**said))
            model = pydantic.create_model(name, **members)
            content["schema"] = self._schema(adapter_of(model), None)
        else:
            field = body.fields[0]
            content["schema"] = self._of_field(field)
            content.update(_examples(field.marker))
        made["content"] = {_media_of(body): content}
        return made

    # Answers

    def _responses(self, route: APIRoute, plan: Plan, has_body: bool) -> dict[str, Any]:
        options: dict[str, Any] = {**route.options}
        status = route.status_code
        cls = route.response_class
        if status is None:
            default = inspect.signature(cls.__init__).parameters.get("status_code")
            status = default.default if default is not None else 200
        success: dict[str, Any] = {
            "description": options.get("response_description", "Successful Response")
        }
        made: dict[str, Any] = {str(status): success}
        if status >= 200 and status not in (204, 205, 304):
            content = self._success(route, cls)
            if content:
                success["content"] = content
        for key, given in route.responses.items():
            self._declare(made, route, key, given)
        refusable = has_body or any(leaf.source in _SOURCES for leaf in plan.leaves)
        if refusable and not {"422", "4XX", "default"} & made.keys():
            self.definitions.update(copy.deepcopy(_VALIDATION))
            schema = {"$ref": PREFIX + "HTTPValidationError"}
            made["422"] = {
                "description": "Validation Error",
                "content": {"application/json": {"schema": schema}},
            }
        return made

    def _success(self, route: APIRoute, cls: type[Any]) -> dict[str, Any]:
        streamed = streamed_as(route)
        if streamed == "events":
            event = copy.deepcopy(_EVENT)
            item = item_type(route)
            if item is not None:
                event["required"] = ["data"]
                event["properties"]["data"] = {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": self._output(item, _response_title(route, "StreamItem")),
                }
            return {"text/event-stream": {"itemSchema": event}}
        if streamed == "lines":
            item = item_type(route)
            title = _response_title(route, "StreamItem")
            return {
                "application/jsonl": {
                    "itemSchema": {} if item is None else self._output(item, title)
                }
            }
        if not cls.media_type:
            return {}
        schema: Schema = {"type": "string"}
        if issubclass(cls, JSONResponse):
            model = route.response_model
            schema = {} if model is None else self._output(model, _response_title(route))
        return {cls.media_type: {"schema": schema}}

    def _declare(self, made: dict[str, Any], route: APIRoute, key: Any, given: Any) -> None:
        declared: dict[str, Any] = copy.deepcopy(
            {name: value for name, value in given.items() if name != "model"}
        )
        status = str(key).upper()
        name = "default" if status == "DEFAULT" else status
        known = made.setdefault(name, {})
        if given.get("model") is not None:
            media = route.response_class.media_type or "application/json"
            place = declared.setdefault("content", {}).setdefault(media, {})
            schema = self._output(given["model"], _response_title(route, suffix=str(key)))
            given_schema = place.get("schema")
            place["schema"] = schema
            if given_schema:
                schema.update(given_schema)
        phrase = _RANGES.get(status) or (_phrase(int(status)) if status.isdigit() else None)
        description = declared.get("description") or known.get("description") or phrase
        merge(known, declared)
        known["description"] = description or "Additional Response"


def _plan_of(route: APIRoute) -> Plan:
    """Return the plan of a route, also of one that no application has frozen."""
    if route.plan is None:
        route.plan = FastAPIPlanner(
            route.route.signature,
            route.path_names,
            providers={},
            dependencies=route.dependencies,
        ).plan()
    return route.plan


def _flat_fields(plan: Plan, source: str) -> Iterator[tuple[Field, bool]]:
    """Yield the fields of one source, those of models in the models' place."""
    for leaf in plan.leaves:
        field: Field | None = getattr(leaf.codec, "field", None)
        if leaf.source != source or field is None:
            continue
        model = model_of(field.annotation) if isinstance(leaf.codec, ModelCodec) else None
        if model is None:
            yield field, field.required
            continue
        for name, info in model.model_fields.items():
            given = info.validation_alias or info.alias
            alias = given if isinstance(given, str) else name
            wire = alias
            if source == "header" and alias == name:
                wire = name.replace("_", "-")
            annotation: Any = info.annotation
            shown = {"title": info.title or alias.replace("_", " ").title()}
            yield (
                Field(name, wire, annotation, info, source, info.is_required(), None, shown),
                info.is_required() and field.required,
            )


def _title(field: Field) -> str:
    given: str | None = field.info.title or field.said.get("title")
    return given or field.alias.replace("_", " ").title()


def _response_title(route: APIRoute, kind: str = "Response", suffix: str = "") -> str:
    name = f"{kind}_{suffix}_{route.unique_id}" if suffix else f"{kind}_{route.unique_id}"
    return name.replace("_", " ").title()


def _callbacks_of(route: APIRoute) -> list[Any]:
    found: list[Any] = []
    for router in route.chain:
        found += getattr(router, "callbacks", ())
    return found


def _media_of(body: BodyCodec) -> str:
    if any(field.source == "file" for field in body.fields):
        return "multipart/form-data"
    if body.is_form:
        given = {field.media_type for field in body.fields if field.source == "form"}
        if "multipart/form-data" in given:
            return "multipart/form-data"
        return given.pop() if len(given) == 1 else "application/x-www-form-urlencoded"
    given = {field.media_type for field in body.fields}
    return given.pop() if len(given) == 1 else "application/json"


def _examples(marker: Any) -> dict[str, Any]:
    examples = getattr(marker, "openapi_examples", None)
    if examples:
        return {"examples": jsonable_encoder(examples)}
    example = getattr(marker, "example", Undefined)
    return {} if example is Undefined else {"example": jsonable_encoder(example)}


def _drop_null_defaults(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _drop_null_defaults(each)
    elif isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            for each in properties.values():
                if isinstance(each, dict) and each.get("default", 0) is None:
                    del each["default"]
        for each in schema.values():
            _drop_null_defaults(each)


def _phrase(status: int) -> str | None:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return None


class _Generator(GenerateJsonSchema):
    """Says of bytes what OpenAPI 3.1 says (§4.8.14.5): their media type, no format."""

    def bytes_schema(self, schema: Any) -> Schema:
        made: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
        mode = self._config.ser_json_bytes if self.mode == "serialization" else None
        if (mode or self._config.val_json_bytes) == "base64":
            made["contentEncoding"] = "base64"
        self.update_with_validations(made, schema, self.ValidationsMapping.bytes)
        return made


_VALIDATION: dict[str, Schema] = {
    "ValidationError": {
        "title": "ValidationError",
        "type": "object",
        "properties": {
            "loc": {
                "title": "Location",
                "type": "array",
                "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            },
            "msg": {"title": "Message", "type": "string"},
            "type": {"title": "Error Type", "type": "string"},
            "input": {"title": "Input"},
            "ctx": {"title": "Context", "type": "object"},
        },
        "required": ["loc", "msg", "type"],
    },
    "HTTPValidationError": {
        "title": "HTTPValidationError",
        "type": "object",
        "properties": {
            "detail": {
                "title": "Detail",
                "type": "array",
                "items": {"$ref": PREFIX + "ValidationError"},
            }
        },
    },
}

_EVENT: Schema = {
    "type": "object",
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}
