"""What a run needs: the virtual environment with the competitors, our wheel, the limit program.

Only the standard library: it runs before the virtual environment exists.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.arms import LIMIT, Arm

if TYPE_CHECKING:
    from benchmarks.workloads import Workload

ROOT = Path(__file__).resolve().parent.parent
PREFERRED = (3, 13)
OLDEST = (3, 10)
HARNESS = ("matplotlib", "psutil", "rich", "uvloop")
COMPETITORS = (
    "uvicorn",
    "httptools",
    "zttp",
    "granian",
    "hypercorn",
    "django-bolt",
    "fastapi",
    "litestar",
    "blacksheep",
    "robyn",
    "redis",
    "msgspec",
    "pydantic",
    "python-multipart",
    "websockets",
)
TOOLS = {
    "wrk": "HTTP/1.1 load; Debian package wrk",
    "h2load": "HTTP/2 load; Debian package nghttp2-client",
    "redis-server": "the Redis workload; Debian package redis-server",
    "nginx": "the static workload's reference; Debian package nginx-light",
    "openssl": "the certificate of the TLS workload; Debian package openssl",
    "cargo": "our release wheel and the limit; https://rustup.rs",
}

Say = Callable[[str], None]


class SetupError(Exception):
    """Nothing can be measured; the message says what to do."""


@dataclass(frozen=True)
class Venv:
    """The virtual environment of one interpreter, with the newest competitors in it."""

    interpreter: Path
    version: tuple[int, int]

    @property
    def path(self) -> Path:
        """Where it is: one folder per Python version, at the repository's root."""
        return ROOT / f".venv-bench-{self.version[0]}.{self.version[1]}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin/python"

    @property
    def running(self) -> bool:
        """True in a process of this environment."""
        return Path(sys.prefix).resolve() == self.path.resolve()

    def prepare(self, say: Say) -> None:
        """Create the environment and fill it; a competitor that does not install is left out."""
        wanted = [*HARNESS, *COMPETITORS]
        stamp = self.path / "installed.json"
        if stamp.exists() and json.loads(stamp.read_text()) == wanted:
            return
        say(f"creating {self.path.name} with Python {self.version[0]}.{self.version[1]}")
        run([self.interpreter, "-m", "venv", self.path])
        self.pip("--upgrade", "pip")
        for name in wanted:
            say(f"installing {name}")
            try:
                self.pip(name)
            except SetupError as error:
                if name in HARNESS:
                    raise
                say(f"left out {name}: {error}")
        stamp.write_text(json.dumps(wanted))

    def pip(self, *arguments: str) -> None:
        """Run `pip install` with these arguments."""
        run([self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments])

    def install_spikard(self, say: Say) -> None:
        """Build our release wheel and install it, unless the installed one has the same sources."""
        if not (ROOT / "pyproject.toml").exists() or not shutil.which("cargo"):
            say("spikard is not built: no pyproject.toml or no cargo")
            return
        sources = digest("src", "python", "Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md")
        stamp = self.path / "spikard.digest"
        if stamp.exists() and stamp.read_text() == sources:
            return
        say("building the spikard wheel in release mode (fat LTO: takes minutes)")
        self.pip("maturin>=1.9.4,<2")
        wheels = self.path / "wheels"
        shutil.rmtree(wheels, ignore_errors=True)
        maturin = [str(self.python), "-m", "maturin", "build", "--release"]
        run([*maturin, "--interpreter", str(self.python), "--out", str(wheels)])
        (wheel,) = wheels.glob("*.whl")
        say("installing the spikard wheel")
        self.pip("--force-reinstall", "--no-deps", str(wheel))
        self.pip(str(wheel))  # what it depends on
        stamp.write_text(sources)


def find_venv(python: str | None) -> Venv:
    """Return the environment of that interpreter, else of CPython 3.13, else of the newest."""
    if python:
        version = version_of(python)
        if version is None:
            raise SetupError(f"{python} is no CPython of {OLDEST[0]}.{OLDEST[1]} or newer")
        return Venv(Path(python), version)
    found = {version: path for path in interpreters() if (version := version_of(path))}
    if not found:
        raise SetupError(f"no CPython {OLDEST[0]}.{OLDEST[1]} or newer found; give --python")
    version = PREFERRED if PREFERRED in found else max(found)
    return Venv(Path(found[version]), version)


def interpreters() -> Iterator[str]:
    """Find interpreters: pyenv's, those on PATH, the running one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from map(str, sorted(pyenv.glob("versions/3.*/bin/python3")))
    for minor in range(OLDEST[1], 20):
        if path := shutil.which(f"python3.{minor}"):
            yield path
    yield sys._base_executable if hasattr(sys, "_base_executable") else sys.executable  # noqa: SLF001


def version_of(python: str) -> tuple[int, int] | None:
    """Return (major, minor) of a usable CPython, else None: a pyenv shim may lead nowhere."""
    code = (
        "import sys; print(sys.implementation.name == 'cpython', *sys.version_info[:2],"
        " hasattr(sys, '_is_gil_enabled') and not sys._is_gil_enabled())"
    )
    try:
        out = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match out.stdout.split():
        case ["True", major, minor, "False"] if (int(major), int(minor)) >= OLDEST:
            return int(major), int(minor)
    return None


def build_limit(say: Say) -> Path | None:
    """Build the bare-hyper program and return its path, or None without cargo."""
    if not shutil.which("cargo"):
        return None
    say("building bare_hyper, the limit (release; minutes the first time)")
    command = ["cargo", "build", "--release", "--example", "bare_hyper"]
    out = run([*command, "--message-format=json-render-diagnostics"])
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            return Path(message["executable"])
    raise SetupError("cargo built no bare_hyper")


def make_certificate(folder: Path) -> tuple[Path, Path] | None:
    """Write a self-signed certificate and its PKCS#8 key; return None without openssl."""
    if not shutil.which("openssl"):
        return None
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    names = ["-subj", "/CN=localhost", "-days", "30"]
    run(["openssl", "req", "-x509", *algorithm, *files, *names])
    return certificate, key


def missing(arm_name: str, arm: Arm, limit: Path | None) -> str | None:
    """Return why an arm cannot be measured here, or None."""
    if arm_name == LIMIT and limit is None:
        return "cargo is missing"
    absent = [name for name in arm.needs if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def missing_tools(workload: Workload) -> list[str]:
    """Return the tools that the workload needs and the machine has not."""
    return [tool for tool in workload.tools if not shutil.which(tool)]


def machine() -> dict[str, object]:
    """Return what the figures depend on: machine, interpreter, versions, commit."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((li.partition(": ")[2] for li in lines if li.startswith("model name")), "")
    return {
        "platform": platform.platform(),
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "packages": {
            name: metadata.version(name)
            for name in ("spikard", *COMPETITORS, "uvloop", "starlette")
            if importlib.util.find_spec(name.replace("-", "_"))
        },
        "tools": {
            "wrk": first_line("wrk", "-v"),
            "h2load": first_line("h2load", "--version"),
            "redis-server": first_line("redis-server", "--version"),
            "rustc": first_line("rustc", "--version"),
        },
        "commit": first_line("git", "describe", "--always", "--dirty"),
    }


def first_line(*command: str) -> str | None:
    """Return the first line that a program prints about itself (wrk's comes with exit code 1)."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return (done.stdout + done.stderr).partition("\n")[0].strip()


def digest(*names: str) -> str:
    """Return a hash of files and folders under the repository's root."""
    total = hashlib.sha256()
    for name in names:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix not in {".pyc", ".so"}:
                total.update(str(file.relative_to(ROOT)).encode())
                total.update(file.read_bytes())
    return total.hexdigest()


def run(command: Sequence[str | Path]) -> str:
    """Run a program in the repository's root and return what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        end = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise SetupError(f"{command[0]} failed:\n  " + "\n  ".join(end))
    return done.stdout
