"""Pages made by Jinja."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

app = FastAPI()
templates = Jinja2Templates(directory=Path(__file__).parent / "templates")


@app.get("/pages/{name}", response_class=HTMLResponse)
async def page(request: Request, name: str):
    return templates.TemplateResponse(request=request, name="page.html", context={"name": name})


@app.get("/teapot")
async def teapot(request: Request):
    return templates.TemplateResponse(
        request, "page.html", {"name": "pot"}, status_code=418, headers={"x-a": "b"}
    )


REQUESTS = [("GET", "/pages/a"), ("GET", "/pages/<b>"), ("GET", "/teapot")]
