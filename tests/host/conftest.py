"""Workers of the host as processes: the runtime library holds one app per process."""

import os
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import aiohttp
import pytest

from tests.ports import free_port

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
KEYS: Final = "default=the-default-key,master=the-master-key"
TOKEN_SECRET: Final = "the-token-secret"
MASTER: Final = {"x-functions-key": "the-master-key"}
READY_SECONDS: Final = 30.0


@dataclass(slots=True)
class Worker:
    """A started worker; `lines` are those of its stdout read so far."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]

    def read_until(self, start: str) -> str:
        """The next line of stdout that begins with `start`."""
        return _read_until(self.process, start, self.lines)

    def stop(self) -> tuple[int, str]:
        """SIGTERM, then the exit code and stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=READY_SECONDS)
        return self.process.returncode, errors


def command(app: Path, *arguments: str) -> list[str]:
    """The command line of a worker on a free port."""
    port = str(free_port())
    keys = ["--host-keys", KEYS, "--function-keys", "guarded=the-guarded-key", "--token-secret", TOKEN_SECRET]
    return [sys.executable, "-m", "sandbox.host", "--app", str(app), "--port", port, *keys, *arguments]


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a worker."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NightlySchedule": "0 30 2 * * *", **(settings or {})}


@contextmanager
def running_worker(
    app: Path, settings: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
) -> Iterator[Worker]:
    """A worker that is ready; killed at the end if it still runs."""
    process = subprocess.Popen(
        command(app, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(settings),
        cwd=ROOT,
    )
    lines: list[str] = []
    try:
        ready = _read_until(process, "ready ", lines)
        yield Worker(process, ready.removeprefix("ready ").strip(), lines)
    finally:
        process.kill()
        process.communicate()


def _read_until(process: subprocess.Popen[str], start: str, lines: list[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], deadline - time.monotonic())[0]:
            line = process.stdout.readline()
            if not line:
                assert process.stderr is not None
                pytest.fail(f"the worker ended: {process.stderr.read()}")
            lines.append(line)
            if line.startswith(start):
                return line
    pytest.fail(f"the worker did not print {start!r}")


@dataclass(frozen=True, slots=True)
class Client:
    """Calls one worker."""

    session: aiohttp.ClientSession
    url: str

    def at(self, url: str) -> Self:
        """The same client for another worker."""
        return type(self)(self.session, url)

    async def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> "Answer":
        """One request, its answer read."""
        async with self.session.request(method, self.url + path, data=body, headers=headers) as answer:
            return Answer(answer.status, await answer.read(), answer.headers.copy())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> "Answer":
        """A GET."""
        return await self.call("GET", path, headers=headers)

    async def post(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> "Answer":
        """A POST."""
        return await self.call("POST", path, body, headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@pytest.fixture(scope="session")
def sample_worker() -> Iterator[Worker]:
    """The sample app, behind a small limit for bodies, with one function switched off."""
    settings = {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000", "AzureWebJobs.switched_off.Disabled": "true"}
    with running_worker(HERE / "sample_app", settings) as worker:
        yield worker


@pytest.fixture
async def client(sample_worker: Worker) -> AsyncIterator[Client]:
    """Calls the sample app."""
    async with aiohttp.ClientSession() as session:
        yield Client(session, sample_worker.url)


type WriteApp = Callable[..., Path]


@pytest.fixture
def write_app(tmp_path: Path) -> WriteApp:
    """Writes an app folder: the text of function_app.py (None = none) and of host.json."""

    def write(function_app: str | None, host_json: str = '{"version": "2.0"}') -> Path:
        if function_app is not None:
            (tmp_path / "function_app.py").write_text(function_app)
        (tmp_path / "host.json").write_text(host_json)
        return tmp_path

    return write
