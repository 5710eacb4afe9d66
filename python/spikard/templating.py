"""`Jinja2Templates`: pages made by Jinja, which is imported when an environment is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikard.responses import HTMLResponse

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from spikard.datastructures import Request

__all__ = ["Jinja2Templates", "TemplateResponse"]


class TemplateResponse(HTMLResponse):
    """A page, and what it was made of, which tests like to look at."""

    __slots__ = ("context", "template")

    def __init__(
        self,
        content: str,
        template: Any,
        context: dict[str, Any],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(content, status_code, headers, media_type, background)
        self.template = template
        self.context = context


class Jinja2Templates:
    """Templates of a directory; values are escaped in HTML.

    Args:
        directory: Where the templates are, or several places.
        context_processors: Functions of the request that add to every context.
        env: A Jinja environment of your own, in place of a directory.

    Raises:
        ImportError: Jinja is not installed: ``pip install "spikard[templates]"``.

    Example:
        ```python
        templates = Jinja2Templates(directory="templates")


        @app.get("/users/{name}")
        async def user(request: Request, name: str) -> HTMLResponse:
            return templates.TemplateResponse(request, "user.html", {"name": name})
        ```
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        *,
        context_processors: Sequence[Callable[[Request], dict[str, Any]]] = (),
        env: Any = None,
    ) -> None:
        if (directory is None) == (env is None):
            raise ValueError("Jinja2Templates takes either a directory or an env")
        try:
            import jinja2
        except ImportError as exc:
            raise ImportError(
                'Jinja2Templates needs Jinja: pip install "spikard[templates]"'
            ) from exc
        if env is None:
            loader = jinja2.FileSystemLoader(directory or ())
            env = jinja2.Environment(loader=loader, autoescape=True)
        self.env = env
        self.env.globals.setdefault("url_for", jinja2.pass_context(_url_for))
        self.context_processors = list(context_processors)

    def get_template(self, name: str) -> Any:
        """Return a template of the environment."""
        return self.env.get_template(name)

    def TemplateResponse(  # noqa: N802 - the name that users know
        self,
        request: Request,
        name: str,
        context: Mapping[str, Any] | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> TemplateResponse:
        """Return a page.

        Args:
            request: Part of the context; ``url_for`` asks it.
            name: The template.
            context: Values for the template.
            status_code: Of the response.
            headers: Of the response.
            media_type: Default ``text/html``.
            background: Awaited after the response has been sent.
        """
        values = {**(context or {}), "request": request}
        for processor in self.context_processors:
            values.update(processor(request))
        template = self.get_template(name)
        content = template.render(values)
        return TemplateResponse(
            content, template, values, status_code, headers, media_type, background
        )


def _url_for(context: Any, name: str, /, **params: Any) -> Any:
    return context["request"].url_for(name, **params)
