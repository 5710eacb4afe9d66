"""Rules of a configuration field: which values it takes, how text becomes one, what its help says.

A dataclass field carries its rule as `metadata={"rule": …}`. `check` turns an accepted value into
the one that is stored (a list into a tuple, an int of seconds into a float); `parse` does so from
the text of a flag or a variable. Both raise ValueError with what was expected and what came.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

OFF_WORDS = ("none", "off")
_TRUE_WORDS = ("1", "true", "yes", "on")
_FALSE_WORDS = ("0", "false", "no", "off")
_SIZE_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_TIME_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Rule(ABC):
    """What every rule says about its field.

    Plain classes: generated ones would triple the time that importing the package takes.

    Attributes:
        about: One phrase for `--help` and the table of settings.
        optional: Whether None is a value; it switches the thing off or leaves it to the default.
        secret: Whether the value is kept out of `repr`, messages and the command line.
        flag: The flag, where it is not the field's name with dashes (uvicorn's name for the same).
        text: Whether a flag or a variable can give the value.
    """

    def __init__(
        self,
        about: str = "",
        *,
        optional: bool = False,
        secret: bool = False,
        flag: str | None = None,
        text: bool = True,
    ) -> None:
        self.about = about
        self.optional = optional
        self.secret = secret
        self.flag = flag
        self.text = text

    @property
    def unit(self) -> str:
        """The unit of the value, empty where it has none."""
        return ""

    def check(self, value: Any) -> Any:
        """Return the value as it is stored, or raise ValueError."""
        if value is None and self.optional:
            return None
        return self._check(value)

    def parse(self, text: str) -> Any:
        """Return the value that a flag's or variable's text stands for, or raise ValueError."""
        if self.optional and text.strip().lower() in OFF_WORDS:
            return None
        return self.check(self._parse(text.strip()))

    @abstractmethod
    def _check(self, value: Any) -> Any:
        """Return a value that is not off as it is stored, or raise ValueError."""

    def _parse(self, text: str) -> Any:
        return text

    def several(self, value: Any) -> tuple[Any, ...]:
        """Return the items of a list or tuple, or raise ValueError."""
        if isinstance(value, (list, tuple)):
            return tuple(cast("list[Any]", value))
        raise self.refuse("a list or tuple", value)

    def refuse(self, expected: str, value: Any) -> ValueError:
        """Return the error for a value, which it shows unless the field is secret."""
        if self.optional:
            expected += " or None"
        shown = "another value" if self.secret else shorten(value)
        return ValueError(f"expected {expected}, got {shown}")


class Integer(Rule):
    """A whole number between two bounds, both included."""

    def __init__(
        self, about: str = "", *, low: int = 0, high: int | None = None, **common: Any
    ) -> None:
        super().__init__(about, **common)
        self.low = low
        self.high = high

    def _check(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(self._expected(), value)
        if value < self.low or (self.high is not None and value > self.high):
            raise self.refuse(self._expected(), value)
        return value

    def _parse(self, text: str) -> Any:
        try:
            return int(text)
        except ValueError:
            raise self.refuse(self._expected(), text) from None

    def _expected(self) -> str:
        noun = "a number of bytes" if self.unit else "an integer"
        if self.high is None:
            return f"{noun} of at least {self.low}"
        return f"{noun} from {self.low} to {self.high}"


class Size(Integer):
    """A number of bytes; text may use KiB, MiB and GiB."""

    def __init__(self, about: str = "", *, low: int = 1, **common: Any) -> None:
        super().__init__(about, low=low, **common)

    @property
    def unit(self) -> str:
        """Bytes."""
        return "bytes"

    def _parse(self, text: str) -> int:
        number, unit = split_unit(text)
        try:
            return int(number) * _SIZE_UNITS[unit.lower()]
        except (KeyError, ValueError):
            raise self.refuse('a size such as "65536" or "10MiB"', text) from None


class Seconds(Rule):
    """A span of time in seconds; text may use ms, s, m and h."""

    def __init__(self, about: str = "", *, low: float = 0.001, **common: Any) -> None:
        super().__init__(about, **common)
        self.low = low

    @property
    def unit(self) -> str:
        """Seconds."""
        return "seconds"

    def _check(self, value: Any) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < self.low:
            raise self.refuse(f"a number of seconds of at least {self.low:g}", value)
        return float(value)

    def _parse(self, text: str) -> float:
        number, unit = split_unit(text)
        try:
            return float(number) * _TIME_UNITS[unit.lower()]
        except (KeyError, ValueError):
            raise self.refuse('a span such as "30", "1.5s" or "2m"', text) from None


class Number(Rule):
    """A finite number of at least `low`."""

    def __init__(self, about: str = "", *, low: float = 0.0, **common: Any) -> None:
        super().__init__(about, **common)
        self.low = low

    def _check(self, value: Any) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < self.low:
            raise self.refuse(f"a number of at least {self.low:g}", value)
        return float(value)

    def _parse(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise self.refuse("a number", text) from None


class Switch(Rule):
    """True or False."""

    def _check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self.refuse("True or False", value)
        return value

    def _parse(self, text: str) -> bool:
        if text.lower() in _TRUE_WORDS:
            return True
        if text.lower() in _FALSE_WORDS:
            return False
        raise self.refuse("true, false, yes, no, on, off, 1 or 0", text)


class Text(Rule):
    """A string without control characters (they could end a header line)."""

    def __init__(
        self, about: str = "", *, empty: bool = False, multiline: bool = False, **common: Any
    ) -> None:
        super().__init__(about, **common)
        self.empty = empty
        self.multiline = multiline

    def _check(self, value: Any) -> str:
        expected = "a string" if self.empty else "a string that is not empty"
        if not isinstance(value, str) or not (value or self.empty):
            raise self.refuse(expected, value)
        if not self.multiline and any(ord(character) < 0x20 for character in value):
            raise self.refuse(f"{expected}, without control characters", value)
        return value


class Choice(Text):
    """One of some words."""

    def __init__(self, about: str = "", *, choices: tuple[str, ...], **common: Any) -> None:
        super().__init__(about, **common)
        self.choices = choices

    def _check(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            words = " or ".join(f'"{choice}"' for choice in self.choices)
            raise self.refuse(words, value)
        return value


class UrlPath(Text):
    """A URL path that starts with a slash; a trailing one is dropped."""

    def _check(self, value: Any) -> str:
        path: str = super()._check(value)
        if path and not path.startswith("/"):
            raise self.refuse('a path that starts with "/"', value)
        return path.rstrip("/") or ("" if self.empty else "/")


class FilePath(Rule):
    """A path in the file system, as str or os.PathLike; stored as str."""

    def _check(self, value: Any) -> str:
        path: Any = value if isinstance(value, str) else None
        if hasattr(value, "__fspath__"):
            path = os.fspath(value)
        if isinstance(path, str) and path and "\0" not in path:
            return path
        raise self.refuse("a path", value)


class Document(FilePath):
    """A JSON document: a mapping, its text, or the path of a file with it.

    Stored as a dict or as the path.
    """

    def _check(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return dict(cast("Mapping[str, Any]", value))
        if isinstance(value, str) and value.lstrip().startswith("{"):
            import json

            try:
                return json.loads(value)
            except ValueError as error:
                raise ValueError(
                    f"expected a JSON document, got text with a fault: {error}"
                ) from None
        return super()._check(value)


class Texts(Rule):
    """Several strings, stored as a tuple; in text, separated by commas."""

    def __init__(
        self, about: str = "", *, item: Rule | None = None, required: bool = False, **common: Any
    ) -> None:
        super().__init__(about, **common)
        self.item = item or Text()
        self.required = required

    def _check(self, value: Any) -> tuple[Any, ...]:
        items = tuple(self._check_item(item) for item in self.several(value))
        if self.required and not items:
            raise self.refuse("at least one value", items)
        return items

    def _check_item(self, item: Any) -> Any:
        if self.secret and (not isinstance(item, str) or not item):
            raise self.refuse("strings that are not empty", item)
        return self.item.check(item)

    def _parse(self, text: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in text.split(",") if item.strip())


class Network(Rule):
    """An IP address or network; `*` is every address, `unix` every peer on a Unix socket."""

    def _check(self, value: Any) -> str:
        from ipaddress import ip_network

        try:
            if isinstance(value, str):
                return value if value in ("*", "unix") else str(ip_network(value, strict=False))
        except ValueError:
            pass
        raise self.refuse('an address, a network such as "10.0.0.0/8", "*" or "unix"', value)


class HeaderLine(Rule):
    """A header as a pair of strings; in text, `name: value`."""

    def _check(self, value: Any) -> tuple[str, str]:
        pair = value.split(":", 1) if isinstance(value, str) else self.several(value)
        if len(pair) == 2 and all(isinstance(part, str) for part in pair):
            name, content = str(pair[0]), str(pair[1]).strip()
            if is_token(name) and content.isprintable() and content.isascii():
                return name.lower(), content
        raise self.refuse('a header such as ("x-name", "value") or "x-name: value"', value)


class Headers(Texts):
    """Headers; in text, one per line, for a value may contain commas."""

    def __init__(self, about: str = "", **common: Any) -> None:
        super().__init__(about, item=HeaderLine(), **common)

    def _parse(self, text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.splitlines() if line.strip())


class TextOrTexts(Texts):
    """One string or several; stored as a tuple."""

    def _check(self, value: Any) -> tuple[Any, ...]:
        return super()._check([value] if isinstance(value, str) else value)


class Part(Rule):
    """Another configuration object."""

    def __init__(self, about: str = "", *, of: type[Any], **common: Any) -> None:
        super().__init__(about, **common)
        self.of = of

    def _check(self, value: Any) -> Any:
        if not isinstance(value, self.of):
            raise self.refuse(f"a {self.of.__name__}", value)
        return value


class Parts(Rule):
    """Several configuration objects, stored as a tuple."""

    def __init__(self, about: str = "", *, of: type[Any], **common: Any) -> None:
        super().__init__(about, **common)
        self.of = of

    def _check(self, value: Any) -> tuple[Any, ...]:
        items = self.several(value)
        if all(isinstance(item, self.of) for item in items):
            return items
        raise self.refuse(f"a list or tuple of {self.of.__name__}", value)


class NamedParts(Rule):
    """A mapping from names to configuration objects, stored as a dict."""

    def __init__(self, about: str = "", *, of: type[Any], **common: Any) -> None:
        super().__init__(about, **common)
        self.of = of

    def _check(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            named: dict[Any, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType] - Any
            if all(isinstance(name, str) for name in named) and all(
                isinstance(item, self.of) for item in named.values()
            ):
                return named
        raise self.refuse(f"a mapping from names to {self.of.__name__}", value)


def is_token(text: str) -> bool:
    """Return whether the text may be a header name (RFC 9110 §5.6.2)."""
    return bool(text) and all(
        character.isascii() and (character.isalnum() or character in "!#$%&'*+-.^_`|~")
        for character in text
    )


def split_unit(text: str) -> tuple[str, str]:
    """Return the number and the unit of text such as `10MiB`."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return number.strip(), text[len(number) :]


def shorten(value: object) -> str:
    """Return the value's repr, cut where a message would drown in it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
