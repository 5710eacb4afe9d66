"""Markers that say where a parameter comes from.

Three spellings mean the same::

    limit: Query[int] = 10
    limit: int = Query(default=10)
    limit: Annotated[int, Query()] = 10

At run time ``Query[int]`` *is* ``Annotated[int, Query()]``. Type checkers see a class that
derives from `Any`, so a ``Query[str]`` may be used as a ``str``; the `Annotated` spelling is
the fully typed one.
"""

# Deriving from Any needs an ignore for mypy that is none for pyright.
# pyright: reportUnnecessaryTypeIgnoreComment=false

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, TypedDict, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Unpack

__all__ = ["Body", "Cookie", "File", "Form", "Header", "Marker", "Path", "Query"]

T = TypeVar("T")


class Constraints(TypedDict, total=False):
    """What a value must be, beside its type.

    Attributes:
        ge: Smallest number allowed; `gt` excludes the bound.
        gt: See `ge`.
        le: Largest number allowed; `lt` excludes the bound.
        lt: See `le`.
        multiple_of: The number must be a multiple of this.
        min_length: Fewest characters or items; `max_length` the most.
        max_length: See `min_length`.
        pattern: A regular expression that must be found in the string.
    """

    ge: float | None
    gt: float | None
    le: float | None
    lt: float | None
    multiple_of: float | None
    min_length: int | None
    max_length: int | None
    pattern: str | None


class MarkerOptions(Constraints, total=False):
    """Keywords of the markers.

    Attributes:
        default_factory: Called for a default instead.
        alias: The name on the wire; default the parameter's (headers: ``_`` → ``-``).
        title: For the documentation, as the next ones.
        description: Shown beside the parameter.
        examples: Shown beside the parameter.
        deprecated: Marked so in the documentation.
        include_in_schema: Whether the documentation shows it.
        embed: Body only: expect ``{"name": value}`` even for a single body parameter.
        media_type: Body only: the one content type to accept.
    """

    default_factory: Callable[[], Any] | None
    alias: str | None
    title: str | None
    description: str | None
    examples: Sequence[Any] | None
    deprecated: bool
    include_in_schema: bool
    embed: bool
    media_type: str | None


_CONSTRAINTS = tuple(Constraints.__annotations__)
_OPTIONS = frozenset(MarkerOptions.__annotations__)


class Marker:
    """What every marker carries; the public markers below derive from it.

    Args:
        default: Used when the request has no value; ``...`` or nothing: required.
        options: See `MarkerOptions`.
    """

    __slots__ = (
        "alias",
        "constraints",
        "default",
        "default_factory",
        "deprecated",
        "description",
        "embed",
        "examples",
        "include_in_schema",
        "media_type",
        "title",
    )

    source: str = ""

    def __init__(self, default: Any = ..., **options: Unpack[MarkerOptions]) -> None:
        unknown = options.keys() - _OPTIONS
        if unknown:
            name = type(self).__name__
            raise TypeError(f"{name}() got an unexpected keyword argument {min(unknown)!r}")
        self.default = default
        self.default_factory = options.get("default_factory")
        if default is not ... and self.default_factory is not None:
            raise TypeError("a parameter has a default or a default_factory, not both")
        self.alias = options.get("alias")
        given: Mapping[str, Any] = {**options}
        self.constraints: dict[str, Any] = {
            name: given[name] for name in _CONSTRAINTS if given.get(name) is not None
        }
        self.title = options.get("title")
        self.description = options.get("description")
        self.examples = options.get("examples")
        self.deprecated = options.get("deprecated", False)
        self.include_in_schema = options.get("include_in_schema", True)
        self.embed = options.get("embed", False)
        self.media_type = options.get("media_type")

    def __class_getitem__(cls, annotation: Any) -> Any:
        return Annotated[annotation, cls()]

    def __repr__(self) -> str:
        shown = [] if self.default is ... else [f"default={self.default!r}"]
        shown += [f"{name}={value!r}" for name, value in self.constraints.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


if TYPE_CHECKING:

    class _Typed(Any, Generic[T]):  # type: ignore[misc] # a value of any type
        """What type checkers see of a marker: a value of any type, parametrised by the real one."""

        def __new__(cls, default: Any = ..., **options: Unpack[MarkerOptions]) -> Any: ...

    class Path(_Typed[T]):
        """See the class of this name below."""

    class Query(_Typed[T]):
        """See the class of this name below."""

    class Header(_Typed[T]):
        """See the class of this name below."""

    class Cookie(_Typed[T]):
        """See the class of this name below."""

    class Body(_Typed[T]):
        """See the class of this name below."""

    class Form(_Typed[T]):
        """See the class of this name below."""

    class File(_Typed[T]):
        """See the class of this name below."""

else:

    class Path(Marker):
        """A segment of the path."""

        __slots__ = ()
        source = "path"

    class Query(Marker):
        """A value of the query string; lists take every value of the key."""

        __slots__ = ()
        source = "query"

    class Header(Marker):
        """A request header."""

        __slots__ = ()
        source = "header"

    class Cookie(Marker):
        """A cookie."""

        __slots__ = ()
        source = "cookie"

    class Body(Marker):
        """The request body, or with several body parameters one member of it."""

        __slots__ = ()
        source = "body"

    class Form(Marker):
        """A field of an urlencoded or multipart form."""

        __slots__ = ()
        source = "form"

    class File(Marker):
        """An uploaded file of a multipart form."""

        __slots__ = ()
        source = "file"
