"""The directory that the static cases ask for: ordinary files, and everything that must not come out of it."""

from __future__ import annotations

import atexit
import functools
import gzip
import os
import shutil
import socket
import tempfile
from pathlib import Path

LETTERS = b"abcdefghij"
PAGE = b"<!doctype html><title>page</title>"
SCRIPT = b"let answer = 42;\n" * 200
OUTSIDE = b"not for anybody"
LARGE_BYTES = 100 << 20


@functools.cache
def root() -> Path:
    """Return the directory, made once a run; beside it lies what is outside of it."""
    above = Path(tempfile.mkdtemp(prefix="conformance-files-"))
    atexit.register(shutil.rmtree, above, ignore_errors=True)
    root = above / "public"
    for name in ("sub", "dir", ".well-known", ".git", "sub-out"):
        (root / name).mkdir(parents=True)
    outside = above / "outside"
    outside.mkdir()
    (above / "public2").mkdir()
    for path, content in {
        root / "letters.txt": LETTERS,
        root / "index.html": PAGE,
        root / "sub/index.html": PAGE,
        root / "dir/letters.txt": LETTERS,
        root / "script.js": SCRIPT,
        root / "page.css": SCRIPT,
        root / ".env": OUTSIDE,
        root / ".git/config": OUTSIDE,
        root / ".well-known/security.txt": LETTERS,
        root / "empty": b"",
        root / "é ü.txt": LETTERS,
        outside / "secret.txt": OUTSIDE,
        above / "public2/secret.txt": OUTSIDE,
    }.items():
        path.write_bytes(content)
    (root / "script.js.gz").write_bytes(gzip.compress(SCRIPT))
    (root / "script.js.br").write_bytes(b"brotli's neighbour")
    (root / "script.js.zst").write_bytes(b"zstandard's neighbour")
    (root / "link-in.txt").symlink_to("letters.txt")
    (root / "link-out.txt").symlink_to("../outside/secret.txt")
    (root / "link-absolute.txt").symlink_to(outside / "secret.txt")
    (root / "link-dir").symlink_to("../outside")
    (root / "link-proc").symlink_to("/proc/self")
    (root / "zero").symlink_to("/dev/zero")
    (root / "sub-out/index.html").symlink_to("../../outside/secret.txt")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    with (root / "large.bin").open("wb") as large:
        large.truncate(LARGE_BYTES)
    return root
