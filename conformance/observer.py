"""The side channel: what an application under test saw, reported to the runner without the server's help.

Applications send datagrams to a Unix socket named by `CONFORMANCE_OBSERVER`; each holds the `repr` of
`(tag, label, value)`, where the tag is the trial's, so that late events never count for another case.
"""

from __future__ import annotations

import ast
import itertools
import socket
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.verdict import BrokenError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

VARIABLE = "CONFORMANCE_OBSERVER"
_LARGEST_DATAGRAM = 1 << 20
_MARK = "flush"


class Observer:
    """Receives observations on a thread and lets a trial wait for the one that it needs."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="conformance-")
        self.path = str(Path(self._directory.name, "observer"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._marks = itertools.count()
        self._seen: list[tuple[str, str, Any]] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._receive, name="observer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", self.path)
        self._thread.join(timeout=5)
        self._socket.close()
        self._directory.cleanup()

    def all(self, tag: str, label: str) -> list[Any]:
        """Return the values reported so far, oldest first, with those that are still on their way to the thread."""
        self._flush()
        with self._changed:
            return self._values(tag, label)

    def wait(self, tag: str, label: str, *, timeout: float = 3.0, count: int = 1) -> Any:
        """Return the value of the `count`-th observation, waiting for it at most `timeout` seconds.

        Raises:
            BrokenError: it did not come in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._values(tag, label)) >= count, timeout):
                raise BrokenError(f"the application did not report {label!r} within {timeout:g} s")
            return self._values(tag, label)[count - 1]

    def settled(
        self, tag: str, label: str, *, window: float = 0.15, timeout: float = 10.0
    ) -> list[Any]:
        """Return the values once none has been added for `window` seconds.

        Raises:
            BrokenError: they kept coming for `timeout` seconds.
        """
        end = time.monotonic() + timeout
        with self._changed:
            while time.monotonic() < end:
                before = self._values(tag, label)
                if not self._changed.wait_for(partial(self._has_more, tag, label, before), window):
                    return before
        raise BrokenError(f"{label!r} had not settled after {timeout:g} s")

    def _has_more(self, tag: str, label: str, before: list[Any]) -> bool:
        return len(self._values(tag, label)) > len(before)

    def never(self, tag: str, label: str, *, window: float = 0.08) -> None:
        """Watch for `window` seconds that the observation does not come.

        Raises:
            BrokenError: it came.
        """
        self._flush()
        with self._changed:
            if self._changed.wait_for(lambda: bool(self._values(tag, label)), window):
                raise BrokenError(
                    f"the application reported {label!r}: {self._values(tag, label)[0]!r}"
                )

    def _flush(self) -> None:
        """Wait for a datagram of our own: whatever was sent before it has then been read, for the socket keeps order."""
        mark = next(self._marks)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(repr((_MARK, str(mark), None)).encode(), self.path)
        self.wait(_MARK, str(mark))

    def _values(self, tag: str, label: str) -> list[Any]:
        return [value for seen, name, value in self._seen if seen == tag and name == label]

    def _receive(self) -> None:
        while datagram := self._socket.recv(_LARGEST_DATAGRAM):
            tag, label, value = ast.literal_eval(datagram.decode())
            with self._changed:
                self._seen.append((tag, label, value))
                self._changed.notify_all()
