"""What of a result is sent: the ``response_model_*`` options of a route."""

# Values of any type are walked here: `Any` narrowed to a dict or list has unknown items.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from spikard._codecs import is_pydantic
from spikard.exceptions import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PROJECTIONS", "projected"]

PROJECTIONS = (
    "include",
    "exclude",
    "by_alias",
    "exclude_unset",
    "exclude_defaults",
    "exclude_none",
)
"""What follows ``response_model_`` in an option's name."""

_OF_PYDANTIC = ("by_alias", "exclude_unset", "exclude_defaults")


def projected(
    encode: Callable[[Any], bytes], annotation: Any, options: Mapping[str, Any], owner: str
) -> Callable[[Any], bytes]:
    """Return an encoder that leaves out what the options say.

    Args:
        encode: The route's encoder.
        annotation: The declared type.
        options: Of the route.
        owner: How messages call the handler.

    Raises:
        RegistrationError: An option that needs a Pydantic model, of another type.
    """
    given = {
        name: options[f"response_model_{name}"]
        for name in PROJECTIONS
        if options.get(f"response_model_{name}") not in (None, False)
        or (name == "by_alias" and options.get("response_model_by_alias") is False)
    }
    given = {name: value for name, value in given.items() if (name, value) != ("by_alias", True)}
    if not given:
        return encode
    if is_pydantic(annotation):
        return _of_pydantic(annotation, given)
    for name in _OF_PYDANTIC:
        if name in given:
            raise RegistrationError(
                f"{owner}: response_model_{name} needs a Pydantic model"
                + ("; a Struct says omit_defaults=True" if name == "exclude_defaults" else "")
            )
    include, exclude = given.get("include"), given.get("exclude")

    def encode_projected(value: Any) -> bytes:
        data = msgspec.json.decode(encode(value))
        if isinstance(data, list):
            data = [_chosen(each, include, exclude) for each in data]
        else:
            data = _chosen(data, include, exclude)
        return msgspec.json.encode(_without_none(data) if "exclude_none" in given else data)

    return encode_projected


def _of_pydantic(annotation: Any, given: dict[str, Any]) -> Callable[[Any], bytes]:
    from pydantic import TypeAdapter

    adapter: Any = TypeAdapter(annotation)
    options = {"by_alias": True, **given}

    def encode(value: Any) -> bytes:
        checked = adapter.validate_python(value, from_attributes=True)
        data: bytes = adapter.dump_json(checked, warnings="error", **options)
        return data

    return encode


def _chosen(data: Any, include: Any, exclude: Any) -> Any:
    if not isinstance(data, dict):
        return data
    return {
        name: value
        for name, value in data.items()
        if (include is None or name in include) and (exclude is None or name not in exclude)
    }


def _without_none(data: Any) -> Any:
    if isinstance(data, list):
        return [_without_none(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {name: _without_none(each) for name, each in data.items() if each is not None}
