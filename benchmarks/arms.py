"""The arms: the servers that are measured, access log off and all else at its default."""

from __future__ import annotations

from dataclasses import dataclass

LIMIT = "limit"


@dataclass(frozen=True)
class Arm:
    """A server, or a framework on one.

    `command` is split at spaces after `{bin}` (the virtual environment's programs), `{limit}` (the
    bare-hyper program), `{port}` and `{app}` (the workload's word for this arm) are filled in.
    """

    label: str
    command: str
    needs: tuple[str, ...]  # modules that must be importable

    @property
    def ours(self) -> bool:
        """True for the arms that this project is about."""
        return "spikard" in self.needs


SPIKARD = "{bin}/spikard {app} --port {port} --no-access-log"
GRANIAN = "{bin}/granian --interface asgi --no-access-log --port {port} {app}"
UVICORN = "{bin}/uvicorn {app} --port {port} --no-access-log"
UVICORN_FASTEST = UVICORN + " --loop uvloop --http httptools"
FASTEST = ("uvicorn", "uvloop", "httptools")

ARMS: dict[str, Arm] = {
    LIMIT: Arm("bare hyper (limit)", "{limit} {port} {app}", ()),
    "spikard": Arm("spikard", SPIKARD, ("spikard",)),
    "spikard-default": Arm("spikard, default policies", SPIKARD, ("spikard",)),
    "spikard-guarded": Arm("spikard, JWT + limit + id + CORS", SPIKARD, ("spikard",)),
    "nginx": Arm("nginx", "nginx -p {files} -c {nginx}", ()),
    "spikard-2": Arm("spikard, 2 workers", SPIKARD + " --workers 2", ("spikard",)),
    "spikard-fastapi": Arm("FastAPI on spikard", SPIKARD, ("spikard", "fastapi")),
    "spikard-fastapi-root": Arm(
        "FastAPI on spikard, with a root path", SPIKARD, ("spikard", "fastapi")
    ),
    "spikard-uvicorn": Arm(
        "Spikard application on uvicorn",
        UVICORN + " --loop uvloop --http httptools",
        ("spikard", "uvicorn", "uvloop", "httptools"),
    ),
    "spikard-mounted": Arm("FastAPI below Spikard", SPIKARD, ("spikard", "fastapi")),
    "granian": Arm("granian (ASGI)", GRANIAN, ("granian",)),
    "granian-2": Arm("granian, 2 workers", GRANIAN + " --workers 2", ("granian",)),
    "granian-rsgi": Arm("granian (RSGI)", GRANIAN.replace("asgi", "rsgi"), ("granian",)),
    "granian-fastapi": Arm("FastAPI on granian", GRANIAN, ("granian", "fastapi")),
    "uvicorn": Arm(
        "uvicorn (uvloop, httptools)",
        UVICORN_FASTEST,
        FASTEST,
    ),
    "uvicorn-2": Arm(
        "uvicorn, 2 workers",
        UVICORN_FASTEST + " --workers 2",
        FASTEST,
    ),
    "uvicorn-asyncio": Arm(
        "uvicorn (asyncio, httptools)",
        UVICORN + " --loop asyncio --http httptools",
        ("uvicorn", "httptools"),
    ),
    "uvicorn-zttp": Arm(
        "uvicorn (uvloop, zttp)",
        UVICORN + " --loop uvloop --http zttp --http2",
        ("uvicorn", "uvloop", "zttp"),
    ),
    "hypercorn": Arm("hypercorn", "{bin}/hypercorn {app} --bind 127.0.0.1:{port}", ("hypercorn",)),
    "django-bolt": Arm(
        "django-bolt",
        "{bin}/django-admin runbolt --settings benchmarks.apps.{app} --host 127.0.0.1"
        " --port {port}",
        ("django_bolt",),
    ),
    "fastapi": Arm(
        "FastAPI on uvicorn",
        UVICORN_FASTEST,
        ("fastapi", *FASTEST),
    ),
    "litestar": Arm("Litestar on granian", GRANIAN, ("litestar", "granian")),
    "litestar-uvicorn": Arm("Litestar on uvicorn", UVICORN_FASTEST, ("litestar", *FASTEST)),
    "blacksheep": Arm("BlackSheep on granian", GRANIAN, ("blacksheep", "granian", "pydantic")),
    "blacksheep-uvicorn": Arm(
        "BlackSheep on uvicorn", UVICORN_FASTEST, ("blacksheep", "pydantic", *FASTEST)
    ),
    "robyn": Arm(
        "Robyn",
        "{bin}/python -m benchmarks.apps.robyn_app {port} {app} --log-level WARN",
        ("robyn", "pydantic"),
    ),
}
