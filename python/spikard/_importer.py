"""From MODULE:ATTRIBUTE to an application that the server can call.

Every failure is a `LoadError` whose message says in one line what to do; where the user's own code
failed, `details` holds its traceback without our frames and those of the import machinery.
"""

from __future__ import annotations

import importlib
import inspect
import os
import runpy
import sys
import traceback
import types
from dataclasses import dataclass
from enum import Enum
from typing import Any

_MAIN = "__mp_main__"


class LoadError(Exception):
    """The application cannot be loaded.

    Attributes:
        details: The traceback of the user's code, empty where none of it failed.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class Kind(Enum):
    """What an application is."""

    SPIKARD = "spikard"
    ASGI3 = "asgi3"
    ASGI2 = "asgi2"


@dataclass(frozen=True, kw_only=True)
class Application:
    """A loaded application: the object itself and what it is."""

    app: Any
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a process finds the application: picklable, so that each worker can load its own.

    Attributes:
        module: Dotted name; `__main__` for the program that was started.
        attribute: Name in the module, with dots for attributes of attributes.
        app_dir: Directory put first on `sys.path`; None for none.
        factory: Whether the attribute is a function that returns the application.
        main: For `__main__`, what to run again: ("path", file) or ("module", name).
    """

    module: str
    attribute: str
    app_dir: str | None = None
    factory: bool = False
    main: tuple[str, str] | None = None

    @classmethod
    def parse(cls, text: str, *, app_dir: str | None = None, factory: bool = False) -> Source:
        """Return the source that `MODULE:ATTRIBUTE` names.

        Raises:
            LoadError: The text has another form.
        """
        module, colon, attribute = text.partition(":")
        if module.endswith(".py") or "/" in module or os.sep in module:
            dotted = module.removesuffix(".py").strip("./").replace(os.sep, ".")
            raise LoadError(
                f'"{text}" names a file: write the module, "{dotted}:{attribute or "app"}"'
            )
        if not colon or not module or not attribute:
            raise LoadError(f'"{text}" is not MODULE:ATTRIBUTE, such as "{module or "main"}:app"')
        return cls(module=module, attribute=attribute, app_dir=app_dir, factory=factory)

    @classmethod
    def of(cls, app: object) -> Source:
        """Return where a worker finds an application object of this process.

        Raises:
            LoadError: No module has it as an attribute.
        """
        main = sys.modules["__main__"]
        for name, module in [("__main__", main), *sys.modules.items()]:
            # Some programs put None, or objects that are no modules, into sys.modules.
            for attribute, value in list(getattr(module, "__dict__", {}).items()):
                if value is app:
                    if module is not main:
                        return cls(module=name, attribute=attribute)
                    again = _how_main_was_started(main)
                    if again is not None:
                        return cls(module="__main__", attribute=attribute, main=again)
        raise LoadError(
            "several workers need the application in a module: assign it to a global name, "
            'or start it with "spikard MODULE:ATTRIBUTE"'
        )

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"

    def load(self) -> Application:
        """Import the module and return the application.

        Raises:
            LoadError: It cannot be imported, found, made or called.
        """
        module = self._import()
        found: Any = module
        for name in self.attribute.split("."):
            if not hasattr(found, name):
                raise LoadError(f'module "{self.module}" has no "{name}"{_suggestion(found, name)}')
            found = getattr(found, name)
        if self.factory:
            if not callable(found):
                raise LoadError(f'"{self}" cannot be called: leave --factory out')
            try:
                found = found()
            except Exception as error:
                raise LoadError(
                    f'the factory "{self}" failed: {_one_line(error)}', _own_frames(error)
                ) from error
        return classify(found, str(self))

    def _import(self) -> types.ModuleType:
        if self.app_dir is not None and self.app_dir not in sys.path:
            sys.path.insert(0, self.app_dir)
        try:
            if self.main is not None:
                return _run_main_again(*self.main)
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name and f"{self.module}.".startswith(f"{error.name}."):
                where = os.path.abspath(self.app_dir or os.curdir)
                raise LoadError(
                    f'no module "{error.name}" in {where}: check the name, or give --app-dir'
                ) from error
            raise self._failed(error) from error
        except (Exception, SystemExit) as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> LoadError:
        return LoadError(
            f'could not import "{self.module}": {_one_line(error)}', _own_frames(error)
        )


def classify(app: Any, name: str) -> Application:
    """Return the application with its kind.

    Raises:
        LoadError: It is none.
    """
    native = sys.modules.get("spikard.app")
    if native is not None and isinstance(app, native.Spikard):
        return Application(app=app, kind=Kind.SPIKARD)
    if not callable(app):
        raise LoadError(f'"{name}" is of type {type(app).__name__}, not an application')
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # a callable of an extension may have none
        return Application(app=app, kind=Kind.ASGI3)
    if _takes(signature, 3):
        return Application(app=app, kind=Kind.ASGI3)
    if _takes(signature, 1):
        return Application(app=app, kind=Kind.ASGI2)
    hint = ": if it returns the application, add --factory" if _takes(signature, 0) else ""
    raise LoadError(f'"{name}" does not take scope, receive and send{hint}')


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _how_main_was_started(main: types.ModuleType) -> tuple[str, str] | None:
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return ("module", spec.name)
    path = getattr(main, "__file__", None)
    return ("path", os.path.abspath(path)) if path else None


def _run_main_again(how: str, name: str) -> types.ModuleType:
    """Run the program's main module under another name, as multiprocessing does.

    `if __name__ == "__main__"` is false then, and what is pickled by `__main__` is found.
    """
    if how == "path":
        content = runpy.run_path(name, run_name=_MAIN)
    else:
        content = runpy.run_module(name, run_name=_MAIN, alter_sys=True)
    module = types.ModuleType(_MAIN)
    vars(module).update(content)
    sys.modules["__main__"] = sys.modules[_MAIN] = module
    return module


def _suggestion(found: object, name: str) -> str:
    public = [key for key in dir(found) if not key.startswith("_")]
    import difflib  # a worker that starts well needs none

    close = difflib.get_close_matches(name, public, n=1)
    if close:
        return f', did you mean "{close[0]}"?'
    applications = [key for key in public if callable(getattr(found, key, None))]
    if applications and len(applications) <= 5:
        return f"; it has {', '.join(applications)}"
    return ""


def _one_line(error: BaseException) -> str:
    text = str(error).split("\n", maxsplit=1)[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _own_frames(error: BaseException) -> str:
    """Return the traceback without the frames of this module, runpy and the import machinery."""
    kept = traceback.TracebackException.from_exception(error)
    chain: traceback.TracebackException | None = kept
    while chain is not None:
        chain.stack = traceback.StackSummary.from_list(
            [frame for frame in chain.stack if not _is_machinery(frame.filename)]
        )
        chain = chain.__cause__ or chain.__context__
    return "".join(kept.format())


def _is_machinery(filename: str) -> bool:
    return (
        filename == __file__
        or filename.startswith("<frozen ")
        or filename in (importlib.__file__, runpy.__file__)
    )
