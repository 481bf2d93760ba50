"""Ports of 127.0.0.1 for the processes of a stack, taken so that no two stacks of one machine take the same one.

Looking whether a port is free and listening there are two steps, and another stack can come in between. So a port is
claimed first, by the lock of a file that every stack looks at and that the kernel lets go of when its holder ends.

Each role has a port that it prefers; the environment can name another (`CONCORD_SAP_PORT=8081`), which then has to be
free. A taken one is passed over by steps of a hundred, below the range that the kernel gives to outgoing connections.
"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Final

PREFERRED: Final[Mapping[str, int]] = {
    "functions": 7071,  # further workers have the ports behind it
    "sap": 7081,
    "dataverse": 7082,
    "commerce": 7083,
    "dataverse_https": 7084,
    "broker": 5679,
    "broker_control": 5680,
    "blobs": 10000,
    "queues": 10001,
    "tables": 10002,
}
_STEP: Final = 100
_TRIES: Final = 200


class NoPort(Exception):
    """No port can be had for a role, or the one that the environment names is taken."""


class ClaimedPorts:
    """The ports one stack has claimed, until `release` or the end of its process."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._claims: list[IO[bytes]] = []

    def claim(self, role: str, offset: int = 0) -> int:
        """A port for a role (`offset` behind its preferred one). Raises NoPort."""
        named = self._environment.get(f"CONCORD_{role.upper()}_PORT")
        if named is None:
            first = PREFERRED[role] + offset
            return self._first_free(role, (first + _STEP * turn for turn in range(_TRIES)))
        if not (named.isascii() and named.isdecimal()) or not 0 < int(named) + offset < 65536:
            raise NoPort(f"CONCORD_{role.upper()}_PORT is {named!r}, which is no port")
        return self._first_free(role, (int(named) + offset,))

    def release(self) -> None:
        """Let other stacks have them."""
        while self._claims:
            self._claims.pop().close()

    def _first_free(self, role: str, candidates: Iterable[int]) -> int:
        tried = 0
        for port in candidates:
            tried = port
            lock = _lock(port)
            if lock is None:
                continue
            if _is_free(port):
                self._claims.append(lock)
                return port
            lock.close()
        raise NoPort(f"no port of 127.0.0.1 can be had for {role}: {tried} is taken")


def listening_socket(port: int) -> socket.socket:
    """A socket that listens at a port of 127.0.0.1."""
    made = _bound(port)
    made.listen(1024)
    return made


def _lock(port: int) -> IO[bytes] | None:
    folder = Path(tempfile.gettempdir()) / f"concord-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / str(port)).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _is_free(port: int) -> bool:
    try:
        _bound(port).close()
    except OSError:
        return False
    return True


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made
