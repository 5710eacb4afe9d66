"""`StaticFiles`: a directory to mount; the server itself sends the files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikard.config import StaticFilesConfig

__all__ = ["StaticFiles"]


class StaticFiles:
    """A directory for ``app.mount("/static", StaticFiles(directory="static"))``.

    Mounted, it becomes a `StaticFilesConfig`: no Python runs when a file is sent.

    Args:
        directory: Where the files are.
        html: Answer a directory with its ``index.html``.
        check_dir: Complain now if the directory does not exist.
        follow_symlink: Let symbolic links lead out of the directory.

    Raises:
        RuntimeError: There is no such directory.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        html: bool = False,
        check_dir: bool = True,
        follow_symlink: bool = False,
    ) -> None:
        if check_dir and not os.path.isdir(directory):
            raise RuntimeError(f"directory {os.fspath(directory)!r} does not exist")
        self.directory = directory
        self.html = html
        self.follow_symlink = follow_symlink

    def config(self, prefix: str) -> StaticFilesConfig:
        """Return the server's configuration of this directory below a path."""
        from spikard.config import StaticFilesConfig

        return StaticFilesConfig(
            directory=os.fspath(self.directory),
            route_prefix=prefix or "/",
            index_file=self.html,
            follow_symlinks=self.follow_symlink,
        )
