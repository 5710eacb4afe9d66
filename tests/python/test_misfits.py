"""The walk over a document that was refused: what it leaves to checks in Python, and what not."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from spikard._spikard import Misfits

Call = tuple[Any, tuple[str, ...], Any]


class Check:
    """Notes what it is asked, and calls each value an error."""

    def __init__(self, errors: int = 1) -> None:
        self.asked: list[Call] = []
        self.errors = errors

    def __call__(self, value: Any, loc: tuple[str, ...], shown: Any) -> Any:
        self.asked.append((value, loc, shown))
        return ({"loc": loc} for _ in range(self.errors))


def missing(loc: tuple[str, ...], shown: Any) -> dict[str, Any]:
    return {"missing": loc, "shown": shown}


def walk(root: tuple[Any, ...], value: Any, shown: Any = None, limit: int = 1000) -> list[Any]:
    return Misfits(root)(value, ("body",), value if shown is None else shown, limit)


def test_checks_see_only_what_does_not_fit_and_where_it_is():
    check, other = Check(), Check()
    row = ("object", [("n", True, ("leaf", [int, float], check))], other, missing)
    root = ("object", [("rows", True, ("list", row, other))], other, missing)
    value = {"rows": [{"n": 1}, {"n": "x"}, {"n": 2.5, "more": "x"}, {}, 7, {"n": True}]}
    found = walk(root, value)
    assert check.asked == [
        ("x", ("body", "rows", "1", "n"), "x"),
        (True, ("body", "rows", "5", "n"), True),  # exactly these classes, not one below them
    ]
    assert other.asked == [(7, ("body", "rows", "4"), 7)]
    assert found == [
        {"loc": ("body", "rows", "1", "n")},
        {"missing": ("body", "rows", "3", "n"), "shown": {}},
        {"loc": ("body", "rows", "4")},
        {"loc": ("body", "rows", "5", "n")},
    ]


@pytest.mark.parametrize("value", [None, {}, (1,), "x"])
def test_what_is_no_list_is_left_to_the_check(value):
    check = Check()
    assert walk(("list", ("leaf", [int], Check()), check), value) == [{"loc": ("body",)}]
    assert check.asked == [(value, ("body",), value)]


def test_what_the_client_sent_is_shown_in_the_place_of_each_value():
    check = Check()
    item = ("object", [("n", True, ("leaf", [str], check))], Check(), missing)
    root = ("list", item, Check())
    walk(root, [{"n": 2}, {"n": 3}], shown=[{"n": "2.0"}, {}])
    walk(root, [{"n": 4}], shown=["shorter", "or longer"])
    assert [shown for _, _, shown in check.asked] == ["2.0", 3, 4]


def test_the_walk_ends_at_the_limit():
    check = Check(errors=3)
    found = walk(("list", ("leaf", [], check), check), [0] * 100, limit=7)
    assert len(found) == 7
    assert len(check.asked) == 3


def test_what_a_check_raises_is_raised():
    def check(value: Any, loc: Any, shown: Any) -> Any:
        raise RecursionError("too deep")

    with pytest.raises(RecursionError, match="too deep"):
        walk(("leaf", [], check), 1)


@pytest.mark.parametrize("root", [("tree", 1, 2), ("leaf", [1], 2), ("leaf",), ("list", 1, 2)])
def test_a_node_that_is_none_is_refused(root):
    with pytest.raises((ValueError, TypeError, IndexError)):
        Misfits(root)


def test_a_walk_that_its_own_check_refers_to_is_collected():
    check: Any = Check()
    check.walk = Misfits(("list", ("leaf", [int], check), check))
    gone = weakref.ref(check)
    del check
    gc.collect()
    assert gone() is None
