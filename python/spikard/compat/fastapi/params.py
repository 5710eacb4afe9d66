"""FastAPI's parameter markers: Pydantic says what a value must be, the marker where it is.

A marker is one of Spikard's markers, so signatures are read as everywhere else; what Pydantic
needs beside the type is what it has `said`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from spikard import di, params

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Body",
    "Cookie",
    "Depends",
    "File",
    "Form",
    "Header",
    "Path",
    "Query",
    "Security",
]

Undefined: Any = object()

_SAID_TO_PYDANTIC = (
    "title",
    "description",
    "gt",
    "ge",
    "lt",
    "le",
    "min_length",
    "max_length",
    "pattern",
    "discriminator",
    "strict",
    "multiple_of",
    "allow_inf_nan",
    "max_digits",
    "decimal_places",
    "examples",
    "json_schema_extra",
    "validate_default",
    "union_mode",
    "fail_fast",
)


class FieldMarker(params.Marker):
    """What FastAPI's markers share.

    Args:
        default: Used when the request has no value; ``...`` or nothing: required.
        default_factory: Called for a default instead.
        alias: The name on the wire; default the parameter's.
        alias_priority: Accepted; of models' fields.
        validation_alias: Over `alias`.
        serialization_alias: Accepted; requests are not serialised.
        title: For the documentation, as the next ones.
        description: Shown beside the parameter.
        gt: Greater than, as ``ge``, ``lt``, ``le`` and ``multiple_of`` for numbers.
        ge: At least.
        lt: Less than.
        le: At most.
        min_length: Of strings and lists.
        max_length: Of strings and lists.
        pattern: A regular expression; ``regex`` is its old name.
        regex: See `pattern`.
        discriminator: The member that tells the models of a union apart.
        strict: No conversion from other types.
        multiple_of: The number must be a multiple of this.
        allow_inf_nan: Whether floats may be infinite or no number.
        max_digits: Of decimals.
        decimal_places: Of decimals.
        examples: Of JSON Schema.
        example: Of OpenAPI 3.0.
        openapi_examples: Of OpenAPI: name → example object.
        deprecated: Marked so in the documentation.
        include_in_schema: Whether the documentation shows it.
        json_schema_extra: Further members of the schema.
        validate_default: Accepted; defaults are trusted.
        union_mode: How the member of a union is chosen, ``smart`` or ``left_to_right``.
        fail_fast: Stop at the first item of a list that does not fit.
        embed: Body only: expect ``{"name": value}`` even for a single body parameter.
        media_type: Body only: what the documentation says.
        convert_underscores: Header only: ``user_agent`` is ``user-agent``.
    """

    __slots__ = ("convert_underscores", "example", "openapi_examples", "said")

    media: str | None = None

    def __init__(
        self,
        default: Any = ...,
        *,
        default_factory: Callable[[], Any] | None = None,
        alias: str | None = None,
        alias_priority: int | None = None,
        validation_alias: str | None = None,
        serialization_alias: str | None = None,
        title: str | None = None,
        description: str | None = None,
        gt: float | None = None,
        ge: float | None = None,
        lt: float | None = None,
        le: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        pattern: str | None = None,
        regex: str | None = None,
        discriminator: str | None = None,
        strict: bool | None = None,
        multiple_of: float | None = None,
        allow_inf_nan: bool | None = None,
        max_digits: int | None = None,
        decimal_places: int | None = None,
        examples: Sequence[Any] | None = None,
        example: Any = Undefined,
        openapi_examples: dict[str, Any] | None = None,
        deprecated: bool | str | None = None,
        include_in_schema: bool = True,
        json_schema_extra: dict[str, Any] | None = None,
        validate_default: bool | None = None,
        union_mode: str | None = None,
        fail_fast: bool | None = None,
        embed: bool | None = None,
        media_type: str | None = None,
        convert_underscores: bool = True,
    ) -> None:
        super().__init__(
            default,
            default_factory=default_factory,
            alias=validation_alias or alias,
            title=title,
            description=description,
            examples=examples,
            deprecated=bool(deprecated),
            include_in_schema=include_in_schema,
            embed=bool(embed),
            media_type=media_type or self.media,
        )
        del alias_priority, serialization_alias  # of models' fields
        pattern = pattern if pattern is not None else regex
        said = locals()
        given = {name: said[name] for name in _SAID_TO_PYDANTIC if said[name] is not None}
        if deprecated:
            given["deprecated"] = deprecated
        self.said: dict[str, Any] = given
        self.example = example
        self.openapi_examples = openapi_examples
        self.convert_underscores = convert_underscores


if TYPE_CHECKING:
    # A marker may be the default of a parameter of any type.

    class _Marks(Protocol):
        def __call__(
            self,
            default: Any = ...,
            *,
            default_factory: Callable[[], Any] | None = None,
            alias: str | None = None,
            alias_priority: int | None = None,
            validation_alias: str | None = None,
            serialization_alias: str | None = None,
            title: str | None = None,
            description: str | None = None,
            gt: float | None = None,
            ge: float | None = None,
            lt: float | None = None,
            le: float | None = None,
            min_length: int | None = None,
            max_length: int | None = None,
            pattern: str | None = None,
            regex: str | None = None,
            discriminator: str | None = None,
            strict: bool | None = None,
            multiple_of: float | None = None,
            allow_inf_nan: bool | None = None,
            max_digits: int | None = None,
            decimal_places: int | None = None,
            examples: Sequence[Any] | None = None,
            example: Any = Undefined,
            openapi_examples: dict[str, Any] | None = None,
            deprecated: bool | str | None = None,
            include_in_schema: bool = True,
            json_schema_extra: dict[str, Any] | None = None,
            validate_default: bool | None = None,
            union_mode: str | None = None,
            fail_fast: bool | None = None,
            embed: bool | None = None,
            media_type: str | None = None,
            convert_underscores: bool = True,
        ) -> Any: ...

    Path: _Marks
    Query: _Marks
    Header: _Marks
    Cookie: _Marks
    Body: _Marks
    Form: _Marks
    File: _Marks

    def Depends(  # noqa: N802 - the name that users know
        dependency: Callable[..., Any] | None = None,
        *,
        use_cache: bool = True,
        scope: str | None = None,
    ) -> Any:
        """See the class of this name below."""

    def Security(  # noqa: N802 - the name that users know
        dependency: Callable[..., Any] | None = None,
        *,
        scopes: Sequence[str] | None = None,
        use_cache: bool = True,
        scope: str | None = None,
    ) -> Any:
        """See the class of this name below."""

else:

    class Path(FieldMarker):
        """A segment of the path."""

        __slots__ = ()
        source = "path"

    class Query(FieldMarker):
        """A value of the query string, every value for a list, all of it for a model."""

        __slots__ = ()
        source = "query"

    class Header(FieldMarker):
        """A request header, or with a model all of them."""

        __slots__ = ()
        source = "header"

    class Cookie(FieldMarker):
        """A cookie, or with a model all of them."""

        __slots__ = ()
        source = "cookie"

    class Body(FieldMarker):
        """The JSON body, or with several body parameters one member of it."""

        __slots__ = ()
        source = "body"
        media = "application/json"

    class Form(FieldMarker):
        """A field of a form, or with a model the whole form."""

        __slots__ = ()
        source = "form"
        media = "application/x-www-form-urlencoded"

    class File(FieldMarker):
        """An uploaded file of a multipart form."""

        __slots__ = ()
        source = "file"
        media = "multipart/form-data"

    class Depends(di.Depends):
        """Inject what a factory makes.

        Args:
            dependency: A callable; default the parameter's own type.
            use_cache: Make it once per request for all that ask for this factory.
            scope: When what follows a generator's ``yield`` runs: ``request`` (default), after the
                response has been sent, or ``function``, before it.
        """

        __slots__ = ("scope",)

        def __init__(
            self,
            dependency: Callable[..., Any] | None = None,
            *,
            use_cache: bool = True,
            scope: str | None = None,
        ) -> None:
            super().__init__(dependency, use_cache=use_cache)
            self.scope = _checked_scope(scope)

    class Security(di.Security):
        """As `Depends`, with OAuth 2 scopes."""

        __slots__ = ("scope",)

        def __init__(
            self,
            dependency: Callable[..., Any] | None = None,
            *,
            scopes: Sequence[str] | None = None,
            use_cache: bool = True,
            scope: str | None = None,
        ) -> None:
            super().__init__(dependency, scopes=scopes, use_cache=use_cache)
            self.scope = _checked_scope(scope)


def _checked_scope(scope: str | None) -> str | None:
    if scope not in (None, "function", "request"):
        raise ValueError(f"Depends.scope: expected 'function' or 'request', got {scope!r}")
    return scope
