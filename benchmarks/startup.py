"""The CPU time that starting costs: the import, 500 routes (`python -m benchmarks.startup`).

CPU time of whole interpreters, the least of several runs, so that a busy machine says the same as a
quiet one. Targets: the import costs at most 80 ms over the bare interpreter with msgspec, and a
route at most 1 ms from its decorator to the frozen core.
"""

from __future__ import annotations

import resource
import subprocess
import sys

ROUNDS = 7
ROUTES = 500

MSGSPEC = "import msgspec"
IMPORT = f"{MSGSPEC}\nfrom spikard import Spikard, ServerConfig"

# Each route has its own handler; `{types}` makes the types once, or anew for every route.
ROUTED = """
import msgspec
from typing import Annotated, Optional
from spikard import ServerConfig, Spikard
from spikard._door import make_core

def types():
    class Address(msgspec.Struct):
        street: str
        zip: Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]

    class User(msgspec.Struct):
        id: int
        name: str
        address: Optional[Address] = None
        tags: list[str] = []

    return User

def routes(app, number, User):
    if number % 4 == 0:
        async def read(id: int, q: str = "", limit: int = 10) -> User: ...
        app.get(f"/a{{number}}/{{{{id:int}}}}")(read)
    elif number % 4 == 1:
        async def create(body: User) -> User: ...
        app.post(f"/b{{number}}")(create)
    elif number % 4 == 2:
        async def find(limit: Annotated[int, msgspec.Meta(ge=0)] = 10) -> list[User]: ...
        app.get(f"/c{{number}}")(find)
    else:
        async def remove(id: str) -> None: ...
        app.delete(f"/d{{number}}/{{{{id}}}}", status_code=204)(remove)

app, shared = Spikard(), types()
for number in range({count}):
    routes(app, number, {types})
make_core(app, ServerConfig())
"""


def cpu_ms(program: str) -> float:
    """Return the CPU time of an interpreter that runs a program, in milliseconds."""
    times: list[float] = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append(spent * 1000)
    return min(times)


def main() -> None:
    """Measure and print."""
    imported = cpu_ms(IMPORT) - cpu_ms(MSGSPEC)
    print(f"import over msgspec: {imported:.0f} ms CPU")
    for label, types in (("shared", "shared"), ("own", "types()")):
        base = cpu_ms(ROUTED.format(count=0, types=types))
        spent = cpu_ms(ROUTED.format(count=ROUTES, types=types)) - base
        print(f"a route of {ROUTES} with {label} types: {spent / ROUTES:.2f} ms CPU")


if __name__ == "__main__":
    main()
