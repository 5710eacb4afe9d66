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

from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Body", "Cookie", "File", "Form", "Header", "Marker", "Path", "Query"]

T = TypeVar("T")

CONSTRAINTS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")


class Marker:
    """What every marker carries; the public markers below derive from it.

    Args:
        default: Used when the request has no value; ``...`` or nothing: required.
        default_factory: Called for a default instead.
        alias: The name on the wire; default the parameter's (headers: ``_`` → ``-``).
        ge: Smallest number allowed; `gt` excludes the bound. `le`, `lt`: the largest.
        multiple_of: The number must be a multiple of this.
        min_length: Fewest characters or items; `max_length` the most.
        pattern: A regular expression that must be found in the string.
        title: For the documentation, as `description`, `examples`, `deprecated`.
        include_in_schema: Whether the documentation shows it.
        embed: Body only: expect ``{"name": value}`` even for a single body parameter.
        media_type: Body only: the one content type to accept.
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

    def __init__(
        self,
        default: Any = ...,
        *,
        default_factory: Callable[[], Any] | None = None,
        alias: str | None = None,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        lt: float | None = None,
        multiple_of: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        pattern: str | None = None,
        title: str | None = None,
        description: str | None = None,
        examples: Sequence[Any] | None = None,
        deprecated: bool = False,
        include_in_schema: bool = True,
        embed: bool = False,
        media_type: str | None = None,
    ) -> None:
        if default is not ... and default_factory is not None:
            raise TypeError("a parameter has a default or a default_factory, not both")
        self.default = default
        self.default_factory = default_factory
        self.alias = alias
        values = (ge, gt, le, lt, multiple_of, min_length, max_length, pattern)
        self.constraints: dict[str, Any] = {
            name: value
            for name, value in zip(CONSTRAINTS, values, strict=True)
            if value is not None
        }
        self.title = title
        self.description = description
        self.examples = examples
        self.deprecated = deprecated
        self.include_in_schema = include_in_schema
        self.embed = embed
        self.media_type = media_type

    def __class_getitem__(cls, annotation: Any) -> Any:
        return Annotated[annotation, cls()]

    def __repr__(self) -> str:
        shown = [] if self.default is ... else [f"default={self.default!r}"]
        shown += [f"{name}={value!r}" for name, value in self.constraints.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


if TYPE_CHECKING:

    class _Typed(Any, Generic[T]):  # type: ignore[misc] # a value of any type
        """What type checkers see of a marker: a value of any type, parametrised by the real one."""

        def __new__(
            cls,
            default: Any = ...,
            *,
            default_factory: Callable[[], Any] | None = None,
            alias: str | None = None,
            ge: float | None = None,
            gt: float | None = None,
            le: float | None = None,
            lt: float | None = None,
            multiple_of: float | None = None,
            min_length: int | None = None,
            max_length: int | None = None,
            pattern: str | None = None,
            title: str | None = None,
            description: str | None = None,
            examples: Sequence[Any] | None = None,
            deprecated: bool = False,
            include_in_schema: bool = True,
            embed: bool = False,
            media_type: str | None = None,
        ) -> Any: ...

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
