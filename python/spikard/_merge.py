"""Other OpenAPI documents as parts of an application's own: those of applications it mounts.

Only the document knows them; nothing of it serves requests. A document of OpenAPI 3.0 is
rewritten in the words of 3.1.
"""

# Documents are JSON of any shape: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikard.exceptions import RouteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["OtherDocument", "merge_document", "other_document"]

Document = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_REFERENCE = re.compile(r"#/components/([^/]+)/([^/]+)(/.*)?")
_PARAMETER = re.compile(r"\{[^{}]*\}")

_NAMED = {
    *("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"),
    *("schemas", "responses", "parameters", "examples", "requestBodies", "headers"),
    *("securitySchemes", "links", "callbacks", "pathItems", "paths", "webhooks"),
    *("content", "encoding", "variables"),
}
"""Keywords whose value maps names of the document's author to things: such a name is no keyword."""

_VALUES = {"example", "default", "enum", "const", "value"}
"""Keywords whose value is data, in which nothing has a meaning."""


@dataclass(frozen=True)
class OtherDocument:
    """A document, checked, and where its paths are."""

    document: Document
    prefix: str


def other_document(document: Mapping[str, Any], prefix: str) -> OtherDocument:
    """Return a checked document; later changes of the original do not reach it.

    Raises:
        ValueError: It is no document of OpenAPI 3, or the prefix no path.
    """
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith("3."):
        raise ValueError(f"merge_openapi: expected a document of OpenAPI 3, got {version!r}")
    paths = document.get("paths", {})
    if not isinstance(paths, dict):
        kind = type(paths).__name__
        raise ValueError(f"merge_openapi: paths: expected a mapping, got {kind}")  # noqa: TRY004
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ValueError(
            f"merge_openapi: prefix: expected a path like '/old' without a slash at its end, "
            f"got {prefix!r}"
        )
    made: Document = copy.deepcopy(dict(document))
    if version.startswith("3.0"):
        made = _changed(made, _of_31)
    return OtherDocument(made, prefix)


def merge_document(into: Document, other: OtherDocument) -> None:
    """Add the paths of another document, and the components that they name.

    Of two components with one name the other's gets a new one, unless both say the same; so do
    operation ids.

    Raises:
        RouteError: Both describe one method of one path.
    """
    components: dict[str, dict[str, Any]] = into.setdefault("components", {})
    renamed = _renamed(components, other.document.get("components", {}))
    ids = _renamed_ids(into, other.document)
    theirs: Document = _changed(other.document, _renaming(renamed, ids))
    for section, entries in theirs.get("components", {}).items():
        place = components.setdefault(section, {})
        for name, entry in entries.items():
            place[renamed.get((section, name)) or name] = entry
    if not components:
        del into["components"]
    paths: dict[str, Any] = into.setdefault("paths", {})
    for path, item in theirs.get("paths", {}).items():
        _add_item(paths, other.prefix + path, item, theirs)
    hooks: dict[str, Any] = theirs.get("webhooks", {})
    for name, item in hooks.items():
        _add_item(into.setdefault("webhooks", {}), name, item, theirs)
    known = {tag["name"] for tag in into.get("tags", ())}
    tags = [tag for tag in theirs.get("tags", ()) if tag["name"] not in known]
    if tags:
        into["tags"] = [*into.get("tags", ()), *tags]


def _add_item(paths: dict[str, Any], path: str, item: dict[str, Any], document: Document) -> None:
    shape = _PARAMETER.sub("{}", path)
    taken = next((known for known in paths if _PARAMETER.sub("{}", known) == shape), path)
    place: dict[str, Any] = paths.setdefault(taken, {})
    for method in METHODS:
        if method in item and (method in place or taken != path):
            clash = "" if taken == path else f" and as {taken!r}"
            raise RouteError(f"merge_openapi: {method.upper()} {path!r} is described twice{clash}")
    is_shared = bool(place)
    for key, value in item.items():
        if key in METHODS:
            place[key] = _operation(value, item if is_shared else {}, document)
        elif not is_shared:
            place[key] = value


def _operation(value: dict[str, Any], item: dict[str, Any], document: Document) -> dict[str, Any]:
    """Return an operation with what it would inherit from where it comes from."""
    made = dict(value)
    if "security" not in made and "security" in document:
        made["security"] = document["security"]
    for name in ("parameters", "servers"):
        if name in item:
            made[name] = [*item[name], *made.get(name, ())]
    return made


def _renamed(
    ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]
) -> dict[tuple[str, str], str]:
    """Return the new names of components: `{(section, name): new name}`."""
    renamed: dict[tuple[str, str], str] = {}
    for section, entries in theirs.items():
        known = ours.get(section, {})
        for name, entry in entries.items():
            if name in known and known[name] != entry:
                renamed[section, name] = ""
    # What says the same but names something that is not the same, is not the same either.
    is_complete = False
    while not is_complete:
        is_complete = True
        for section, entries in theirs.items():
            for name, entry in entries.items():
                is_known = name in ours.get(section, {}) and (section, name) not in renamed
                if is_known and any(target in renamed for target in _references(entry)):
                    renamed[section, name] = ""
                    is_complete = False
    for section, name in renamed:
        taken = {*ours.get(section, {}), *theirs[section], *renamed.values()}
        renamed[section, name] = _free(name, taken)
    return renamed


def _renamed_ids(ours: Document, theirs: Document) -> dict[str, str]:
    known = set(_operation_ids(ours))
    own = set(_operation_ids(theirs))
    renamed: dict[str, str] = {}
    for name in sorted(own & known):
        renamed[name] = _free(name, {*known, *own, *renamed.values()})
    return renamed


def _operation_ids(document: Document) -> Iterator[str]:
    for section in ("paths", "webhooks"):
        for item in document.get(section, {}).values():
            for method in METHODS:
                name = item.get(method, {}).get("operationId")
                if name is not None:
                    yield name


def _free(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield what a part of a document names: `(section, name)`."""
    if isinstance(value, dict):
        match = _REFERENCE.fullmatch(value["$ref"]) if _is_reference(value) else None
        if match is not None:
            yield match[1], match[2]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _is_reference(value: dict[str, Any]) -> bool:
    return isinstance(value.get("$ref"), str)


def _changed(value: Any, change: Callable[[dict[str, Any]], None], named: bool = False) -> Any:
    """Return a copy in which `change` has been called with every object that has keywords."""
    if isinstance(value, list):
        return [_changed(each, change) for each in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, each in value.items():
        if not named and key in _VALUES:
            made[key] = each
        else:
            made[key] = _changed(each, change, named=not named and key in _NAMED)
    if not named:
        change(made)
    return made


def _renaming(
    renamed: Mapping[tuple[str, str], str], ids: Mapping[str, str]
) -> Callable[[dict[str, Any]], None]:
    """Return what puts new names in the place of old ones."""

    def reference(text: str) -> str:
        match = _REFERENCE.fullmatch(text)
        new = renamed.get((match[1], match[2])) if match is not None else None
        return (
            text
            if match is None or new is None
            else (f"#/components/{match[1]}/{new}{match[3] or ''}")
        )

    def scheme(name: str) -> str:
        return renamed.get(("securitySchemes", name), name)

    def change(made: dict[str, Any]) -> None:
        if _is_reference(made):
            made["$ref"] = reference(made["$ref"])
        discriminator = made.get("discriminator")
        if isinstance(discriminator, dict) and "mapping" in discriminator:
            # A value is a reference or the bare name of a schema.
            discriminator["mapping"] = {
                key: renamed.get(("schemas", to), reference(to))
                for key, to in discriminator["mapping"].items()
            }
        if isinstance(made.get("security"), list):
            made["security"] = [
                {scheme(name): scopes for name, scopes in each.items()} for each in made["security"]
            ]
        if isinstance(made.get("operationId"), str):
            made["operationId"] = ids.get(made["operationId"], made["operationId"])

    return change


def _of_31(made: dict[str, Any]) -> None:
    """Rewrite one schema of OpenAPI 3.0 (JSON Schema 2020-12 has other words for three things)."""
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(made.get(bound), bool):
            is_exclusive = made.pop(bound)
            if is_exclusive and limit in made:
                made[bound] = made.pop(limit)
    if not isinstance(made.get("nullable"), bool):
        return
    if not made.pop("nullable"):
        return
    kind = made.get("type")
    if isinstance(kind, str):
        made["type"] = [kind, "null"]
        if "enum" in made and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
    elif made:
        whole = dict(made)
        made.clear()
        made["anyOf"] = [whole, {"type": "null"}]
