"""The routes that serve the OpenAPI document and the pages that show it.

They are ordinary routes, so every door has them and every policy holds for them. A page is one
line of HTML, its settings as JSON, and scripts from the same origin: the content security policy
allows no other, and no script inside the page. All links are relative, so that a page works below
any prefix without being told of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import importlib.util
import logging
import mimetypes
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from spikard._problems import problem
from spikard.datastructures import Request  # noqa: TC001 - the handler's signature is read
from spikard.responses import Response
from spikard.routing import BoundRoute, RouteOptions, make_route, parse_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spikard.app import Spikard
    from spikard.config import OpenApiConfig, ServerConfig

__all__ = ["documentation_routes"]

_log = logging.getLogger("spikard")


@dataclass(frozen=True)
class Viewer:
    """A program in the browser that shows a document.

    Attributes:
        name: For titles and messages.
        package: The distribution's import name; only its files are used.
        extra: Of this distribution; installs the package.
        directory: Of the files, inside the package.
        scripts: Files, in the order in which the page loads them.
        styles: Files.
        icon: A file.
        start: JavaScript that starts it, with `settings` and `page` at hand.
    """

    name: str
    package: str
    extra: str
    directory: str
    scripts: tuple[str, ...]
    styles: tuple[str, ...]
    icon: str
    start: str

    def files(self) -> dict[str, Path] | None:
        """Return the files by their last name, None when the package is not installed."""
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            return None
        root = Path(found.submodule_search_locations[0], self.directory)
        names = (*self.scripts, *self.styles, self.icon)
        files = {posixpath.basename(name): root / name for name in names}
        return files if all(path.is_file() for path in files.values()) else None


SWAGGER_UI = Viewer(
    name="Swagger UI",
    package="openapi_ui_bundles",
    extra="docs",
    directory="swagger_ui/vendor",
    scripts=("swagger-ui-bundle.js",),
    styles=("swagger-ui.css",),
    icon="favicon-32x32.png",
    # Without validatorUrl the page would ask a server of Swagger's about every document.
    start="""SwaggerUIBundle({
  url: settings.document,
  domNode: page,
  deepLinking: true,
  queryConfigEnabled: false,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
""",
)

REDOC = Viewer(
    name="ReDoc",
    package="openapi_ui_bundles",
    extra="docs",
    directory="redoc/vendor",
    scripts=("redoc.standalone.js",),
    styles=(),
    icon="logo-mini.svg",
    start="""Redoc.init(settings.document, { hideDownloadButton: false }, page);
""",
)

SCALAR = Viewer(
    name="Scalar",
    package="flask_openapi_scalar",
    extra="scalar",
    directory="templates/scalar",
    scripts=("js/scalar.standalone.js",),
    styles=(),
    icon="images/scalar.svg",
    # Nothing from Scalar's own servers: no fonts, no proxy, no usage reports, no assistant.
    start="""Scalar.createApiReference(page, {
  url: settings.document,
  withDefaultFonts: false,
  telemetry: false,
  proxyUrl: "",
  agent: { disabled: true },
  mcp: { disabled: true },
  hideClientButton: true,
  showDeveloperTools: "never",
});
""",
)

_START = """"use strict";
const settings = JSON.parse(document.getElementById("settings").textContent);
const page = document.getElementById("page");
"""

_STYLE = "body { margin: 0; }\n"


def documentation_routes(app: Spikard, config: ServerConfig) -> Iterator[BoundRoute]:
    """Yield the routes of the document and its pages; none unless the configuration says so."""
    info = config.openapi
    if info is None or not info.enabled:
        return
    options: RouteOptions = {"include_in_schema": False}
    if info.public:
        options["require_auth"] = False

    def bound(path: str, handler: Callable[..., Any]) -> BoundRoute:
        route = make_route(("GET",), path, handler, options, "http")
        return BoundRoute(route, path, (app,), (), (), {}, False, parse_template(path))

    yield bound(info.openapi_json_path, _document_handler(app, config))
    for path, viewer in (
        (info.swagger_ui_path, SWAGGER_UI),
        (info.redoc_path, REDOC),
        (info.scalar_path, SCALAR),
    ):
        if path is not None:
            for below, handler in _page_handlers(app, info, path, viewer):
                yield bound(below, handler)


def _document_handler(app: Spikard, config: ServerConfig) -> Callable[..., Any]:
    made: dict[str, Any] = {}
    encoded = b""

    async def openapi_document(request: Request) -> Response:
        nonlocal made, encoded
        if not encoded:
            made = app.document(config)
            encoded = msgspec.json.encode(made)
        body = encoded
        configured = config.openapi is not None and config.openapi.servers
        if request.root_path and not configured:
            # Below a prefix the default server, "/", would miss it.
            servers = [each for each in made.get("servers", ()) if each["url"] != request.root_path]
            below = {"url": request.root_path}
            body = msgspec.json.encode({**made, "servers": [below, *servers]})
        return Response(body, headers=_NOSNIFF, media_type="application/json")

    return openapi_document


def _page_handlers(
    app: Spikard, info: OpenApiConfig, path: str, viewer: Viewer
) -> Iterator[tuple[str, Callable[..., Any]]]:
    files = viewer.files()
    if files is None:
        yield path, _missing(path, viewer)
        return
    title = app.title or info.title
    target = posixpath.relpath(info.openapi_json_path, posixpath.dirname(path))
    headers = {**_NOSNIFF, **_policy(info), "referrer-policy": "no-referrer"}
    yield (
        path,
        _content(_page(f"{title} - {viewer.name}", target, path, viewer), "text/html", headers),
    )
    below = path.rstrip("/")
    yield f"{below}/start.js", _content(_START + viewer.start, "text/javascript", _NOSNIFF)
    yield f"{below}/page.css", _content(_STYLE, "text/css", _NOSNIFF)
    for name, file in files.items():
        yield f"{below}/{name}", _asset(file)


def _page(title: str, target: str, path: str, viewer: Viewer) -> str:
    # Relative to the page's own address, whatever is in front of its last segment.
    below = posixpath.basename(path)
    base = html.escape(f"{below}/" if below else "")
    names = (posixpath.basename(name) for name in ("page.css", *viewer.styles))
    styles = "".join(f'<link rel="stylesheet" href="{base}{name}">\n' for name in names)
    names = (posixpath.basename(name) for name in (*viewer.scripts, "start.js"))
    scripts = "".join(f'<script src="{base}{name}"></script>\n' for name in names)
    # In a script element only "<" can end what it holds; JSON may spell it otherwise.
    settings = msgspec.json.encode({"document": target}).decode().replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="{base}{posixpath.basename(viewer.icon)}">
{styles}</head>
<body>
<div id="page"></div>
<script type="application/json" id="settings">{settings}</script>
{scripts}</body>
</html>
"""


_NOSNIFF = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}


def _policy(info: OpenApiConfig) -> dict[str, str]:
    """Return the header that keeps a page to its own origin and the servers it may try."""
    origins = " ".join(dict.fromkeys(_origins(info)))
    return {
        "content-security-policy": "; ".join(
            (
                "default-src 'self'",
                f"connect-src 'self' {origins}".rstrip(),
                "img-src 'self' data:",
                # The viewers style their elements from their scripts.
                "style-src 'self' 'unsafe-inline'",
                # ReDoc searches in a worker that it makes of its own script.
                "worker-src 'self' blob:",
                "object-src 'none'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'self'",
            )
        )
    }


def _origins(info: OpenApiConfig) -> Iterator[str]:
    for server in info.servers:
        parts = urlsplit(server.url)
        # A source of the policy: nothing that could end it, no template.
        if parts.scheme in ("http", "https") and re.fullmatch(r"[\w.:\[\]-]+", parts.netloc):
            yield f"{parts.scheme}://{parts.netloc}"


def _content(text: str, media_type: str, headers: dict[str, str]) -> Callable[..., Any]:
    body = text.encode()

    async def page() -> Response:
        return Response(body, headers=headers, media_type=media_type)

    return page


def _asset(file: Path) -> Callable[..., Any]:
    """Return a handler that reads a file of a package once, and keeps it: it cannot change."""
    kept: list[tuple[bytes, str]] = []
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"

    async def asset(request: Request) -> Response:
        if not kept:
            content = await asyncio.to_thread(file.read_bytes)
            kept.append((content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'))
        content, tag = kept[0]
        headers = {**_NOSNIFF, "etag": tag}
        known = (each.strip() for each in request.headers.get("if-none-match", "").split(","))
        # RFC 9110 §13.1.2: the weak comparison, since compression weakens the tag.
        if any(each.removeprefix("W/") in (tag, "*") for each in known):
            return Response(None, 304, headers)
        return Response(content, headers=headers, media_type=media_type)

    return asset


def _missing(path: str, viewer: Viewer) -> Callable[..., Any]:
    reason = f'{viewer.name} is not installed: pip install "spikard[{viewer.extra}]"'
    _log.warning("%s: %s", path, reason)

    async def missing() -> Response:
        return problem(501, reason)

    return missing
