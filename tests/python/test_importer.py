"""`spikard._importer`: from MODULE:ATTRIBUTE to an application, or one line that helps."""

from __future__ import annotations

import re
import sys
import types

import pytest

from spikard._importer import Kind, LoadError, Source, classify


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes a module and gives the source of an attribute in it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(code: str, attribute: str = "app", *, factory: bool = False) -> Source:
        (tmp_path / "project_main.py").write_text(code)
        return Source.parse(f"project_main:{attribute}", app_dir=str(tmp_path), factory=factory)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


ASGI3 = "async def app(scope, receive, send): pass\n"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param(ASGI3, Kind.ASGI3, id="coroutine function"),
        pytest.param(
            "async def run(s, r, d): pass\ndef app(scope, receive, send): return run(1, 2, 3)\n",
            Kind.ASGI3,
            id="sync callable that returns a coroutine",
        ),
        pytest.param(
            "class App:\n    async def __call__(self, scope, receive, send): pass\napp = App()\n",
            Kind.ASGI3,
            id="instance",
        ),
        pytest.param("def app(*args): pass\n", Kind.ASGI3, id="any arguments"),
        pytest.param(
            "import functools\n" + ASGI3 + "app = functools.partial(app)\n",
            Kind.ASGI3,
            id="partial",
        ),
        pytest.param(
            "def app(scope):\n    async def run(receive, send): pass\n    return run\n",
            Kind.ASGI2,
            id="legacy function",
        ),
        pytest.param(
            "class app:\n    def __init__(self, scope): pass\n"
            "    async def __call__(self, receive, send): pass\n",
            Kind.ASGI2,
            id="legacy class",
        ),
    ],
)
def test_kind_of_application_is_recognised(project, code, kind):
    assert project(code).load().kind is kind


def test_nested_attribute_and_factory_are_followed(project):
    code = "class site:\n    @staticmethod\n    def make():\n        return app\n" + ASGI3
    loaded = project(code, "site.make", factory=True).load()
    assert loaded.kind is Kind.ASGI3
    assert loaded.app.__name__ == "app"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("main", '"main" is not MODULE:ATTRIBUTE, such as "main:app"'),
        (":app", 'such as "main:app"'),
        ("main:", 'such as "main:app"'),
        ("main.py:app", '"main.py:app" names a file: write the module, "main:app"'),
        ("./src/main.py", 'write the module, "src.main:app"'),
    ],
)
def test_other_form_is_an_error_that_shows_the_right_one(text, message):
    with pytest.raises(LoadError, match=re.escape(message)):
        Source.parse(text)


@pytest.mark.parametrize(
    ("code", "attribute", "message"),
    [
        (ASGI3, "ap", 'module "project_main" has no "ap", did you mean "app"?'),
        (ASGI3, "server", 'has no "server"; it has app'),
        (ASGI3, "app.inner", 'has no "inner"'),
        ("app = {}", "app", '"project_main:app" is of type dict, not an application'),
        ("def app(): pass", "app", "if it returns the application, add --factory"),
        ("def app(a, b): pass", "app", "does not take scope, receive and send"),
        ("import project_missing", "app", "No module named 'project_missing'"),
        ("raise ValueError('no database')", "app", "ValueError: no database"),
        ("raise SystemExit(3)", "app", 'could not import "project_main": SystemExit: 3'),
        ("def app(:", "app", 'could not import "project_main": SyntaxError'),
    ],
)
def test_load_error_says_what_is_wrong_in_one_line(project, code, attribute, message):
    with pytest.raises(LoadError, match=re.escape(message)) as raised:
        project(code, attribute).load()
    assert "\n" not in str(raised.value)


def test_missing_module_names_the_directory_that_was_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    source = Source.parse("no_such_project:app", app_dir=str(tmp_path))
    with pytest.raises(LoadError, match=re.escape(str(tmp_path))) as raised:
        source.load()
    assert raised.value.details == ""


@pytest.mark.parametrize(
    ("code", "factory"),
    [("def make():\n    return 1 / 0\nmake()\n", False), ("def app():\n    return 1 / 0\n", True)],
)
def test_traceback_has_only_the_frames_of_the_user(project, code, factory):
    with pytest.raises(LoadError) as raised:
        project(code, factory=factory).load()
    details = raised.value.details
    assert "return 1 / 0" in details
    assert "ZeroDivisionError" in details
    frames = [line for line in details.splitlines() if line.lstrip().startswith("File ")]
    assert frames
    assert all("project_main.py" in line for line in frames)


def test_missing_import_inside_a_package_is_not_taken_for_the_application(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "project_package").mkdir()
    (tmp_path / "project_package/__init__.py").write_text("import project_package_missing\n")
    with pytest.raises(LoadError, match='could not import "project_package"') as raised:
        Source.parse("project_package:app", app_dir=str(tmp_path)).load()
    assert "import project_package_missing" in raised.value.details


def test_native_application_is_recognised_without_importing_the_framework(monkeypatch):
    class Spikard:
        async def __call__(self, scope, receive, send): ...

    module = types.ModuleType("spikard.app")
    module.Spikard = Spikard  # type: ignore[attr-defined] # a stand-in for the framework
    monkeypatch.setitem(sys.modules, "spikard.app", module)
    assert classify(Spikard(), "m:app").kind is Kind.SPIKARD


def test_application_object_is_found_in_its_module(monkeypatch):
    module = types.ModuleType("project_of")
    module.site = object()  # type: ignore[attr-defined] # any object will do
    monkeypatch.setitem(sys.modules, "project_of", module)
    assert Source.of(module.site) == Source(module="project_of", attribute="site")


def test_application_object_without_a_name_is_an_error_that_says_what_to_do():
    with pytest.raises(LoadError, match="assign it to a global name"):
        Source.of(object())


def test_main_script_is_run_again_under_another_name(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text("app = [__name__]\ndef app_(scope, receive, send): return app\n")
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setitem(sys.modules, "__mp_main__", types.ModuleType("__mp_main__"))
    source = Source(module="__main__", attribute="app_", main=("path", str(script)))
    assert source.load().app(1, 2, 3) == ["__mp_main__"]
