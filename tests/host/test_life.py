"""The life of a worker: what it says of itself, how it drains, how it restarts."""

import asyncio
import json

import aiohttp
import pytest

from tests.host.conftest import HERE, MASTER, Client, Worker, running_worker


async def test_a_ready_host_says_so_and_lists_its_functions(client: Client, sample_worker: Worker) -> None:
    status = json.loads((await client.get("/admin/host/status", MASTER)).body)
    assert (status["state"], status["processId"]) == ("Running", sample_worker.process.pid)
    listed = {
        f["name"]: f["config"]["bindings"][0]["type"]
        for f in json.loads((await client.get("/admin/functions", MASTER)).body)
    }
    assert listed["echo"] == "httpTrigger"
    assert listed["nightly"] == "timerTrigger"
    assert json.loads((await client.get("/admin/functions/echo", MASTER)).body)["name"] == "echo"


async def test_the_ping_needs_no_key_and_the_status_does(client: Client) -> None:
    assert (await client.get("/admin/host/ping")).status == 200
    assert (await client.get("/admin/host/status")).status == 401
    assert (await client.post("/admin/host/restart")).status == 401


@pytest.mark.parametrize(("how", "exit_code"), [("SIGTERM", 0), ("restart", 75)])
async def test_a_stop_finishes_what_is_at_work(how: str, exit_code: int) -> None:
    with running_worker(HERE / "sample_app") as worker:
        async with aiohttp.ClientSession() as session:
            client = Client(session, worker.url)
            held = asyncio.create_task(client.get("/api/held"))
            await asyncio.to_thread(worker.read_until, "held has begun")
            if how == "restart":
                assert (await client.post("/admin/host/restart", None, MASTER)).status == 202
            else:
                worker.process.terminate()
            answer = await held
            assert json.loads(answer.body) == {"finished": True}
            _, errors = await asyncio.to_thread(worker.process.communicate, None, 10)
            assert (worker.process.returncode, errors) == (exit_code, "")


def test_a_failed_invocation_is_one_story_on_stderr_without_the_body() -> None:
    import urllib.error
    import urllib.request

    with running_worker(HERE / "sample_app") as worker:
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(worker.url + "/api/failing/raise", b"a secret body")
        code, errors = worker.stop()
    assert code == 0
    assert "function failing failed: ValueError: this order cannot be read" in errors
    assert "a secret body" not in errors


def test_a_port_that_is_taken_is_named(sample_worker: Worker) -> None:
    import subprocess

    from tests.host.conftest import ROOT, command, environment

    line = command(HERE / "sample_app")
    port = sample_worker.url.rpartition(":")[2]
    line[line.index("--port") + 1] = port
    ended = subprocess.run(line, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=20, check=False)
    assert ended.returncode != 0
    assert f"port {port} of 127.0.0.1 cannot be had" in ended.stderr


async def test_a_drain_gives_up_what_takes_too_long_and_says_so() -> None:
    unlimited = {"AzureFunctionsJobHost__functionTimeout": "-1"}
    with running_worker(HERE / "sample_app", unlimited, ["--drain-seconds", "0.1"]) as worker:
        async with aiohttp.ClientSession() as session:
            held = asyncio.create_task(Client(session, worker.url).get("/api/held?seconds=60"))
            await asyncio.to_thread(worker.read_until, "held has begun")
            code, errors = await asyncio.to_thread(worker.stop)
            with pytest.raises(aiohttp.ClientError):
                await held
    assert code == 0
    assert "the drain took too long" in errors


async def test_requests_beyond_the_outstanding_limit_are_turned_away() -> None:
    limit = {"AzureFunctionsJobHost__extensions__http__maxOutstandingRequests": "1"}
    with running_worker(HERE / "sample_app", limit) as worker:
        async with aiohttp.ClientSession() as session:
            client = Client(session, worker.url)
            held = asyncio.create_task(client.get("/api/held"))
            await asyncio.to_thread(worker.read_until, "held has begun")
            assert (await client.get("/api/echo/x")).status == 429
            assert (await held).status == 200
            assert (await client.get("/api/echo/x")).status == 200
