"""The floors of docs/architecture.md hold: a module imports only from lower ones."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

RUST_FLOORS = {
    "message": 0,
    "routing": 1,
    "protocol": 1,
    "pipeline": 2,
    "server": 3,
    "bridge": 4,
}

# Modules of python/spikard, lowest first. Imports inside functions and under TYPE_CHECKING may
# point upwards: `app.run` has to reach the workers, and types cost nothing at run time.
PYTHON_FLOORS = [
    {"_spikard", "exceptions", "_rules", "_logging", "_slots", "_out_of_range", "_violations"}
    | {"_deadline", "_life", "_pool", "_wsgi"},
    {"background", "config", "datastructures", "params"}
    | {"_headers", "_multidict", "_request", "_state", "_uploads"},
    {"_settings", "websockets", "responses", "di", "grpc", "_codecs", "_signature", "_problems"}
    | {"_files", "_exchange", "_forms", "encoders", "middleware", "security", "staticfiles"}
    | {"status", "templating"},
    {"_plan", "_extract", "_exact", "_result", "_endpoint", "_container", "_hooks", "_failures"}
    | {"_multipart", "_schemas", "_socket_endpoint", "routing", "_marks", "openapi", "events"}
    | {"_components", "_documentation", "_projection", "_detached", "_refusals"}
    | {"_merge", "_middleware"}
    | {"_mounts", "_mounted"},
    {"app", "_door"},
    {
        "_importer",
        "_listen",
        "_loop",
        "_run",
        "_server",
        "_transport",
        "_worker",
        "_workers",
        "cli",
        "__main__",
    }
    | {"_thread"},
    {"testing"},
    {"compat"},
]


def floor_of(module: str) -> int:
    for floor, names in enumerate(PYTHON_FLOORS):
        if module in names:
            return floor
    raise AssertionError(f"python/spikard/{module} has no floor: add it to PYTHON_FLOORS")


def runtime_imports(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the spikard modules that a module's top level imports when it runs."""
    for statement in body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            if statement.module == "spikard":
                yield from (alias.name for alias in statement.names)
            elif statement.module.startswith("spikard."):
                yield statement.module.split(".")[1]
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                if alias.name.startswith("spikard."):
                    yield alias.name.split(".")[1]
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) != "TYPE_CHECKING":
            yield from runtime_imports([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from runtime_imports(statement.body)


def python_modules() -> Iterator[tuple[str, Path]]:
    package = ROOT / "python/spikard"
    for path in sorted(package.rglob("*.py")):
        first = path.relative_to(package).parts[0]
        if first != "__init__.py":
            yield first.removesuffix(".py"), path


@pytest.mark.parametrize(("module", "path"), list(python_modules()))
def test_python_module_imports_only_from_lower_floors(module, path):
    floor = floor_of(module)
    imports = set(runtime_imports(ast.parse(path.read_text()).body)) - {module}
    assert {name for name in imports if floor_of(name) > floor} == set()


def test_python_package_init_imports_nothing_of_its_own_at_run_time():
    source = (ROOT / "python/spikard/__init__.py").read_text()
    assert list(runtime_imports(ast.parse(source).body)) == []


def rust_files() -> Iterator[tuple[str, Path]]:
    for floor in RUST_FLOORS:
        for path in sorted((ROOT / "src").glob(f"{floor}/**/*.rs")):
            yield floor, path


def test_rust_floor_uses_only_lower_floors():
    upward = [
        f"{path.relative_to(ROOT)}: crate::{used}"
        for floor, path in rust_files()
        for used in re.findall(r"\bcrate::(\w+)", path.read_text())
        if used != floor and used in RUST_FLOORS and RUST_FLOORS[used] >= RUST_FLOORS[floor]
    ]
    assert upward == []


def test_only_the_bridge_names_pyo3():
    naming = [
        str(path.relative_to(ROOT))
        for floor, path in rust_files()
        if floor != "bridge" and re.search(r"\bpyo3(_async_runtimes)?::", path.read_text())
    ]
    assert naming == []


def test_upward_imports_are_found():
    source = "from spikard import cli\nimport spikard.app\nif X:\n    from spikard.di import Y\n"
    assert list(runtime_imports(ast.parse(source).body)) == ["cli", "app", "di"]
