"""The broker as a process: what it prints, how it ends, what it refuses to start with."""

import json
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.broker", *arguments],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # a line that is buffered here is one `select` does not see
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 10)[0], "nothing was printed in 10 seconds"
    return process.stdout.readline().decode().strip()


def test_it_says_when_it_is_ready_shows_its_state_and_ends_cleanly() -> None:
    with _process("--port", "0", "--control-port", "0") as process:
        assert _line(process).startswith("ready sb://127.0.0.1:")
        control = _line(process).removeprefix("control ")
        with urllib.request.urlopen(f"{control}/state", timeout=5) as response:
            state = json.load(response)
        assert state["quiet"] is True
        assert state["entities"]["orders"] == {"kind": "topic", "scheduled": 0, "received_total": 0}
        assert state["entities"]["orders/Subscriptions/order_to_ledger"] == {
            "kind": "subscription",
            "active": 0,
            "locked": 0,
            "scheduled": 0,
            "deferred": 0,
            "dead_lettered": 0,
            "sessions_locked": 0,
            "oldest_enqueued_time": None,
            "received_total": 0,
            "completed_total": 0,
        }
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{control}/other", timeout=5)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, b"")


def test_it_refuses_a_configuration_it_cannot_use_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "Config.json"
    path.write_text(
        '{"UserConfig": {"Namespaces": [{"Name": "n", "Queues": [{"Name": "q", "Properties": {"X": 1}}]}]}}'
    )
    with _process("--config", str(path)) as process:
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 2
        assert b"Queues[0].Properties" in errors
