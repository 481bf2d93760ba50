"""The stack: up as one, down without a trace, its workers replaced at once."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import pytest

from sandbox.stack import Stack, StackFailed
from tests.host.conftest import HERE, READY_SECONDS, ROOT, Client

AZURITE: Final = os.environ.get("AZURITE", str(ROOT / "node_modules" / ".bin" / "azurite"))
SETTINGS: Final = {"NightlySchedule": "0 30 2 * * *"}
_LOOKED_AT: Final = ("functions", "sap", "dataverse", "commerce")
pytestmark = pytest.mark.skipif(shutil.which(AZURITE) is None, reason="Azurite is not installed: make installs it")


def small_stack(folder: Path, app: Path = HERE / "sample_app", workers: int = 1) -> Stack:
    """Azurite, the broker and the sample app."""
    return Stack(workers=workers, simulators=(), app=app, out=folder / "stack.json", settings=SETTINGS)


def described(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "stack.json").read_bytes()))


def is_open(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2].rstrip("/")))) == 0


def own_ports() -> dict[str, str]:
    """Settings for ports that no other stack passes by at, so that one which is open afterwards was left behind."""
    kept = [socket.create_server(("127.0.0.1", 0)) for _ in _LOOKED_AT]
    ports = [one.getsockname()[1] for one in kept]
    for one in kept:
        one.close()
    return {f"CONCORD_{role.upper()}_PORT": str(port) for role, port in zip(_LOOKED_AT, ports, strict=True)}


@contextmanager
def stack_process(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m sandbox.stack up` with the sample app, ready."""
    line = [sys.executable, "-m", "sandbox.stack", "up", "--app", str(HERE / "sample_app")]
    line += ["--out", str(folder / "stack.json"), *arguments]
    process = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **SETTINGS, **own_ports()},
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        assert first.startswith("ready "), process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def everything_of(folder: Path) -> list[psutil.Process]:
    return [psutil.Process(pid) for pids in described(folder)["processes"].values() for pid in pids]


async def test_a_worker_that_is_killed_is_replaced_on_the_same_port(tmp_path: Path) -> None:
    async with small_stack(tmp_path, workers=2) as stack, aiohttp.ClientSession() as session:
        first, second = (Client(session, url) for url in stack.functions_urls)
        before = json.loads((await first.get("/api/echo/x")).body)["pid"]
        other = json.loads((await second.get("/api/echo/x")).body)["pid"]
        assert described(tmp_path)["processes"]["functions"] == [before, other]
        os.kill(before, signal.SIGKILL)
        after = json.loads((await first.get("/api/echo/x")).body)["pid"]
        assert after != before
        assert described(tmp_path)["processes"]["functions"] == [after, other]


async def test_a_restart_over_http_changes_the_pid_and_refuses_nobody(tmp_path: Path) -> None:
    async with small_stack(tmp_path) as stack, aiohttp.ClientSession() as session:
        client = Client(session, stack.functions_url)
        master = {"x-functions-key": described(tmp_path)["functions"]["keys"]["master"]}
        before = json.loads((await client.get("/admin/host/status", master)).body)["processId"]
        worker = psutil.Process(before)
        assert (await client.post("/admin/host/restart", None, master)).status == 202
        await asyncio.to_thread(worker.wait, 10)
        after = json.loads((await client.get("/admin/host/status", master)).body)["processId"]
        assert after != before
        assert described(tmp_path)["processes"]["functions"] == [after]


async def test_an_app_that_does_not_index_fails_the_start_with_its_last_lines(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "host.json").write_text('{"version": "2.0"}')
    (app / "function_app.py").write_text("raise LookupError('no such policy')\n")
    with pytest.raises(StackFailed, match="no such policy"):
        async with small_stack(tmp_path, app):
            pytest.fail("the stack must not come up")
    assert not (tmp_path / "stack.json").exists()
    assert not [p for p in psutil.Process().children(recursive=True) if str(tmp_path) in " ".join(p.cmdline())]
    assert not list(tmp_path.glob("azurite-*"))


async def test_a_process_that_dies_beside_the_workers_ends_the_stack(tmp_path: Path) -> None:
    async with small_stack(tmp_path) as stack:
        os.kill(described(tmp_path)["processes"]["broker"][0], signal.SIGKILL)
        with pytest.raises(StackFailed, match=r"broker .* ended with exit code -9"):
            await asyncio.wait_for(stack.failure(), READY_SECONDS)


def test_the_stack_says_everything_that_others_rely_on_and_leaves_nothing_when_stopped(tmp_path: Path) -> None:
    with stack_process(tmp_path) as process:
        told, everything = described(tmp_path), everything_of(tmp_path)
        assert told["functions"]["keys"].keys() == {"default", "master"}
        urls = [told[name]["url"] for name in ("functions", "sap", "dataverse", "commerce")]
        assert all(is_open(url) for url in urls)
        assert told["servicebus"]["connection_string"].startswith("Endpoint=sb://127.0.0.1:")
        assert "TableEndpoint=http://127.0.0.1:" in told["tables"]["connection_string"]
        for person in ("operator", "approver", "second_approver"):
            assert told[person]["headers"].keys() == {"X-ZUMO-AUTH"}
        assert [entity["code"] for entity in told["legal_entities"]] == ["GB01", "JP01", "KW01"]
        assert told["legal_entities"][0] == {"code": "GB01", "currency": "GBP", "plants": ["GB10"], "tax_rate": 0.2}
        assert told["processes"].keys() == {"azurite", "broker", "sap", "dataverse", "commerce", "functions"}

        process.terminate()
        assert process.wait(READY_SECONDS) == 0
        assert not psutil.wait_procs(everything, timeout=5)[1]
        assert not any(is_open(url) for url in urls)
        assert not (tmp_path / "stack.json").exists()


def test_even_a_killed_stack_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    with stack_process(tmp_path, "--simulators", "sap") as process:
        told, everything = described(tmp_path), everything_of(tmp_path)
        process.kill()
        assert not psutil.wait_procs(everything, timeout=5)[1]
        assert not any(is_open(told[name]["url"]) for name in ("functions", "sap"))


def test_ctrl_c_during_the_start_leaves_nothing_either(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sandbox.stack", "up", "--app", str(HERE / "sample_app")]
    line += ["--out", str(tmp_path / "stack.json")]
    with subprocess.Popen(line, cwd=ROOT, env={**os.environ, **SETTINGS}, stdout=subprocess.PIPE, text=True) as process:
        stack = psutil.Process(process.pid)
        children: list[psutil.Process] = []
        while not children:
            children = stack.children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(READY_SECONDS) == 0
        assert not psutil.wait_procs(children, timeout=5)[1]
