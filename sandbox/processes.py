"""Child processes that cannot outlive their parent, say when they are ready, and are told apart when they fail.

Each child leads a process group of its own, so that stopping it stops whatever it started, and asks the kernel to be
killed when its parent dies, so that even a killed parent leaves nothing behind.
"""

import asyncio
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LAST_LINES: Final = 20
_PROBE_SECONDS: Final = 0.03
_libc: Final = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """A process ended, or said nothing, before it was ready; the text carries its last lines."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. It is ready when it prints `ready …`, or, with `ready_ports`, when these accept connections."""

    role: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    directory: Path
    inherit_fds: Sequence[int] = ()
    ready_ports: Sequence[int] = ()
    ready_seconds_max: float = 60.0


@dataclass(slots=True)
class Child:
    """A running process; start one with `start`."""

    command: Command
    process: asyncio.subprocess.Process
    _reader: asyncio.Task[None]
    _is_ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    async def ready(self) -> None:
        """Wait until it serves. Raises StartFailed when it ends before, or takes too long."""
        ended = asyncio.create_task(self.process.wait())
        signs = asyncio.create_task(self._signs_of_life())
        try:
            async with asyncio.timeout(self.command.ready_seconds_max):
                await asyncio.wait((ended, signs), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise StartFailed(self._told("is not ready after too long")) from None
        finally:
            signs.cancel()
            ended.cancel()
        if ended.done() and not ended.cancelled():
            await self._reader
            raise StartFailed(self._told(f"ended with exit code {ended.result()} before it was ready"))

    async def ended(self) -> int:
        """Wait for its end; returns the exit code (negative: the signal)."""
        return await self.process.wait()

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM to its group, SIGKILL to what is left after the grace; returns when it is gone."""
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), grace_seconds)
        self._signal(signal.SIGKILL)  # also to whatever a leader that has ended left in its group
        await self.process.wait()
        await self._reader

    def described_end(self, code: int) -> str:
        """That it ended, with its last lines."""
        return self._told(f"ended with exit code {code}")

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _signs_of_life(self) -> None:
        for port in self.command.ready_ports:
            await _accepting(port)
        if not self.command.ready_ports:
            await self._is_ready.wait()

    def _told(self, what: str) -> str:
        lines = self.command.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"{self.command.role} (pid {self.pid}) {what}; its last lines:", *(lines or ["(none)"])])


async def start(command: Command) -> Child:
    """Start a process; its output goes to the end of its log."""
    parent = os.getpid()

    def tie_to_parent() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the tie was made
            os._exit(1)

    command.log.parent.mkdir(parents=True, exist_ok=True)
    with command.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=command.environment,
            cwd=command.directory,
            start_new_session=True,
            preexec_fn=tie_to_parent,
            pass_fds=command.inherit_fds,
        )
    is_ready = asyncio.Event()
    return Child(command, process, asyncio.create_task(_copy(process, command.log, is_ready)), is_ready)


async def _copy(process: asyncio.subprocess.Process, log: Path, is_ready: asyncio.Event) -> None:
    assert process.stdout is not None
    with log.open("ab", buffering=0) as file:
        while line := await _line(process.stdout):
            file.write(line)
            if line.startswith(b"ready "):
                is_ready.set()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, or a piece of one that is longer than the buffer; empty at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await stream.read(overrun.consumed)


async def _accepting(port: int) -> None:
    """Wait until `port` of 127.0.0.1 accepts a connection."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(_PROBE_SECONDS)
        else:
            writer.close()
            return
