"""The load generators, on the second core: wrk, h2load, our WebSocket client."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.server import ROOT, ServerError, pinned
from benchmarks.workloads import CONNECTIONS, Workload

H2_CONNECTIONS = 16  # each with CONNECTIONS / H2_CONNECTIONS streams in flight
PROBE_SECONDS = 5
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


@dataclass(frozen=True)
class Answered:
    """What a load generator saw."""

    requests: int
    seconds: float
    p99_ms: float | None
    errors: int


class Load(Protocol):
    """A way to ask."""

    def probe(self, port: int, *, check_body: bool) -> None:
        """Ask once; ConnectionError or TimeoutError means not ready, ServerError a wrong answer."""

    def run(self, port: int, seconds: float) -> Answered:
        """Ask for that long and return what was seen."""


def load_for(workload: Workload) -> Load:
    """Return the workload's load generator."""
    if workload.load == "wrk":
        return Wrk(workload)
    return H2load(workload) if workload.load == "h2load" else WebSocket(workload)


def generate(command: list[str], seconds: float) -> str:
    """Run a load generator on the second core and return its output."""
    done = run_program([*pinned(1), *command], seconds + 30)
    if done.returncode != 0:
        raise ServerError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-200:]}")
    return done.stdout


def run_program(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed, as text."""
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{command[0]} did not end within {timeout:.0f} s") from error


@dataclass(frozen=True)
class Wrk:
    """HTTP/1.1 over keep-alive connections, with or without TLS."""

    workload: Workload

    def probe(self, port: int, *, check_body: bool) -> None:
        """See Load."""
        work = self.workload
        connection = (
            http.client.HTTPSConnection(
                "127.0.0.1",
                port,
                timeout=PROBE_SECONDS,
                context=ssl._create_unverified_context(),  # noqa: S323, SLF001 - our own server
            )
            if work.tls
            else http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_SECONDS)
        )
        try:
            method = "GET" if work.body is None else "POST"
            content = {} if work.body is None else {"content-type": work.content_type}
            headers = {**work.headers, **content}
            connection.request(method, work.path, work.body, headers)
            response = connection.getresponse()
            body = response.read()
        except http.client.HTTPException as error:
            raise ServerError(f"no HTTP answer: {error!r}") from error
        finally:
            connection.close()
        if check_body and not self._fits(response.status, body):
            raise ServerError(f"answered {response.status} {body[:80]!r}")

    def _fits(self, status: int, body: bytes) -> bool:
        expected = self.workload.expect
        if status not in self.workload.statuses:
            return False
        if expected is None:
            return True
        return body == expected if isinstance(expected, bytes) else json.loads(body) == expected

    def run(self, port: int, seconds: float) -> Answered:
        """See Load."""
        work = self.workload
        url = f"{'https' if work.tls else 'http'}://127.0.0.1:{port}{work.path}"
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--latency"]
        for name, value in work.headers.items():
            command += ["-H", f"{name}: {value}"]
        with tempfile.NamedTemporaryFile() as body:
            if work.body is not None:
                body.write(work.body)
                body.flush()
                script = str(ROOT / "benchmarks/lua/post.lua")
                command += ["-s", script, url, "--", work.content_type, body.name]
            else:
                command.append(url)
            out = generate(command, seconds)
        requests, lasted = found(r"(\d+) requests in ([\d.]+\w+)", out)
        (p99,) = found(r"(?m)^\s+99%\s+(\S+)", out)
        errors = sum(int(n) for n in re.findall(r"\b(?:connect|read|write|timeout) (\d+)", out))
        if work.statuses == (200,):
            errors += sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
        return Answered(int(requests), milliseconds(lasted) / 1e3, milliseconds(p99), errors)


@dataclass(frozen=True)
class H2load:
    """HTTP/2 with prior knowledge: 16 connections, four streams in flight on each."""

    workload: Workload

    def probe(self, port: int, *, check_body: bool) -> None:
        """See Load."""
        out = generate(["h2load", "-n1", "-c1", self._url(port)], PROBE_SECONDS)
        if "1 2xx" not in out:
            raise ConnectionRefusedError
        (size,) = found(r"\((\d+)\) data", out.replace("B (", "("))
        expected = self.workload.expect
        if check_body and isinstance(expected, bytes) and int(size) != len(expected):
            raise ServerError(f"answered {size} bytes")

    def run(self, port: int, seconds: float) -> Answered:
        """See Load."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "requests"
            out = generate(
                [
                    "h2load",
                    "-t1",
                    f"-c{H2_CONNECTIONS}",
                    f"-m{CONNECTIONS // H2_CONNECTIONS}",
                    f"-D{seconds:.0f}",
                    f"--log-file={log}",
                    self._url(port),
                ],
                seconds,
            )
            # One line per request: start in µs, status, duration in µs.
            micros = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
        (requests,) = found(r"(\d+) succeeded", out)
        (lasted,) = found(r"finished in ([\d.]+\w+)", out)
        failed = sum(int(n) for n in re.findall(r"(\d+) (?:failed|timeout|4xx|5xx)", out))
        return Answered(int(requests), milliseconds(lasted) / 1e3, p99_ms(micros), failed)

    def _url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}{self.workload.path}"


@dataclass(frozen=True)
class WebSocket:
    """Echo over WebSocket connections, one message in flight on each."""

    workload: Workload

    def probe(self, port: int, *, check_body: bool) -> None:
        """See Load."""
        done = run_program(self._command(port, connections=1, seconds=0), 2 * PROBE_SECONDS)
        if "ConnectionRefusedError" in done.stderr:
            raise ConnectionRefusedError
        if done.returncode != 0:
            raise ServerError(done.stderr.strip().split("\n")[-1])

    def run(self, port: int, seconds: float) -> Answered:
        """See Load."""
        command = self._command(port, connections=CONNECTIONS, seconds=seconds)
        answered = json.loads(generate(command, seconds))
        return Answered(**answered)

    def _command(self, port: int, *, connections: int, seconds: float) -> list[str]:
        numbers = (port, self.workload.message_bytes, connections, seconds)
        return [sys.executable, "-m", "benchmarks.websocket_client", *map(str, numbers)]


def found(pattern: str, out: str) -> tuple[str, ...]:
    """Return the groups of the pattern's first match in a load generator's output."""
    match = re.search(pattern, out)
    if not match:
        raise ServerError(f"no {pattern!r} in the load generator's output: {out[-200:]!r}")
    return match.groups()


def milliseconds(text: str) -> float:
    """Parse wrk's and h2load's durations: `812.00us`, `1.23ms`, `3.01s`."""
    number, unit = found(r"([\d.]+)(us|ms|s|m)", text)
    return float(number) * UNITS[unit]


def p99_ms(micros: list[int]) -> float | None:
    """Return the 99th percentile of durations in µs, in ms."""
    return statistics.quantiles(micros, n=100)[98] / 1e3 if len(micros) > 1 else None
