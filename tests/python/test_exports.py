"""The names that users import exist, are listed, and say where they come from."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import spikard

# The contract's list, and the modules that the page imports from.
NAMES = """
Spikard Router ServerConfig Body Query Path Header Cookie Form File UploadFile Request Response
StreamingResponse JSONResponse HTMLResponse PlainTextResponse RedirectResponse FileResponse
WebSocket WebSocketDisconnect SseEvent HTTPException Provide BackgroundTasks State TestClient
LiveTestClient GrpcHandler GrpcRequest GrpcResponse GrpcService websocket sse get post put patch
delete head options trace route
"""
MODULES = {
    "spikard.config": "ServerConfig CompressionConfig RateLimitConfig JwtConfig ApiKeyConfig "
    "CorsConfig StaticFilesConfig TlsConfig OpenApiConfig ServerInfo ContactInfo LicenseInfo "
    "SecuritySchemeInfo",
    "spikard.routing": "Router",
    "spikard.di": "Provide",
    "spikard.datastructures": "UploadFile Request Headers State",
    "spikard.testing": "TestClient LiveTestClient",
    "spikard.grpc": "GrpcHandler GrpcRequest GrpcResponse",
}


def test_the_package_exports_what_the_contract_lists():
    assert set(NAMES.split()) <= set(spikard.__all__)
    for name in NAMES.split():
        assert getattr(spikard, name) is not None


@pytest.mark.parametrize("module", MODULES)
def test_modules_export_what_the_page_imports(module):
    found = importlib.import_module(module)
    for name in MODULES[module].split():
        assert name in found.__all__
        assert hasattr(found, name)


def test_the_three_lists_of_the_package_agree():
    tree = ast.parse(Path(inspect.getfile(spikard)).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name: (node.module or "").removeprefix("spikard.")
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(typed) == sorted(spikard.__all__)
    names = {name: module for name, module in typed.items() if module != "spikard"}
    assert names == spikard._MODULES  # the rest are modules themselves


@pytest.mark.parametrize(
    "name", [each.name for each in pkgutil.walk_packages(spikard.__path__, "spikard.")]
)
def test_what_a_module_lists_is_there(name):
    if name.endswith("__main__"):
        pytest.skip("runs the command")
    module = importlib.import_module(name)
    for listed in getattr(module, "__all__", ()):
        assert hasattr(module, listed)
