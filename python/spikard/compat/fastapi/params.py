"""FastAPI's parameter markers: Pydantic says what a value must be, the marker where it is.

A marker is one of Spikard's markers, so signatures are read as everywhere else; what Pydantic
needs beside the type is what it has `said`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from spikard import di, params

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Unpack

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


class PydanticKeywords(TypedDict, total=False):
    """What a marker says to Pydantic beside the type, in Pydantic's words.

    Attributes:
        title: For the documentation, as `description` and `examples`.
        description: Shown beside the parameter.
        gt: Greater than, as ``ge``, ``lt``, ``le`` and ``multiple_of`` for numbers.
        ge: At least.
        lt: Less than.
        le: At most.
        min_length: Of strings and lists.
        max_length: Of strings and lists.
        pattern: A regular expression.
        discriminator: The member that tells the models of a union apart.
        strict: No conversion from other types.
        multiple_of: The number must be a multiple of this.
        allow_inf_nan: Whether floats may be infinite or no number.
        max_digits: Of decimals.
        decimal_places: Of decimals.
        examples: Of JSON Schema.
        json_schema_extra: Further members of the schema.
        validate_default: Accepted; defaults are trusted.
        union_mode: How the member of a union is chosen, ``smart`` or ``left_to_right``.
        fail_fast: Stop at the first item of a list that does not fit.
        deprecated: Marked so in the documentation.
    """

    title: str | None
    description: str | None
    gt: float | None
    ge: float | None
    lt: float | None
    le: float | None
    min_length: int | None
    max_length: int | None
    pattern: str | None
    discriminator: str | None
    strict: bool | None
    multiple_of: float | None
    allow_inf_nan: bool | None
    max_digits: int | None
    decimal_places: int | None
    examples: Sequence[Any] | None
    json_schema_extra: dict[str, Any] | None
    validate_default: bool | None
    union_mode: str | None
    fail_fast: bool | None
    deprecated: bool | str | None


class MarkerKeywords(PydanticKeywords, total=False):
    """The keywords of FastAPI's markers.

    Attributes:
        default_factory: Called for a default instead.
        alias: The name on the wire; default the parameter's.
        alias_priority: Accepted; of models' fields.
        validation_alias: Over `alias`.
        serialization_alias: Accepted; requests are not serialised.
        regex: The old name of `pattern`.
        example: Of OpenAPI 3.0.
        openapi_examples: Of OpenAPI: name → example object.
        include_in_schema: Whether the documentation shows it.
        embed: Body only: expect ``{"name": value}`` even for a single body parameter.
        media_type: Body only: what the documentation says.
        convert_underscores: Header only: ``user_agent`` is ``user-agent``.
    """

    default_factory: Callable[[], Any] | None
    alias: str | None
    alias_priority: int | None
    validation_alias: str | None
    serialization_alias: str | None
    regex: str | None
    example: Any
    openapi_examples: dict[str, Any] | None
    include_in_schema: bool
    embed: bool | None
    media_type: str | None
    convert_underscores: bool


class FieldMarker(params.Marker):
    """What FastAPI's markers share.

    Args:
        default: Used when the request has no value; ``...`` or nothing: required.
        given: See `MarkerKeywords`.

    Raises:
        TypeError: A keyword is unknown.
    """

    __slots__ = ("convert_underscores", "example", "openapi_examples", "said")

    media: str | None = None

    def __init__(self, default: Any = ..., **given: Unpack[MarkerKeywords]) -> None:
        unknown = given.keys() - _KEYWORDS
        if unknown:
            name = type(self).__name__
            raise TypeError(f"{name}() got an unexpected keyword argument {min(unknown)!r}")
        super().__init__(
            default,
            default_factory=given.get("default_factory"),
            alias=given.get("validation_alias") or given.get("alias"),
            title=given.get("title"),
            description=given.get("description"),
            examples=given.get("examples"),
            deprecated=bool(given.get("deprecated")),
            include_in_schema=given.get("include_in_schema", True),
            embed=bool(given.get("embed")),
            media_type=given.get("media_type") or self.media,
        )
        said: dict[str, Any] = {
            name: value
            for name, value in given.items()
            if name in PydanticKeywords.__annotations__ and value is not None
        }
        if given.get("regex") is not None:
            said.setdefault("pattern", given.get("regex"))
        if not said.get("deprecated"):
            said.pop("deprecated", None)
        self.said = said
        self.example: Any = given.get("example", Undefined)
        self.openapi_examples = given.get("openapi_examples")
        self.convert_underscores = given.get("convert_underscores", True)


_KEYWORDS = frozenset(MarkerKeywords.__annotations__)


if TYPE_CHECKING:
    # A marker may be the default of a parameter of any type.

    class _Marks(Protocol):
        def __call__(self, default: Any = ..., **given: Unpack[MarkerKeywords]) -> Any: ...

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
