"""Fixtures that many rooms share: tables (in memory and on Azurite), free ports, the policy that ships."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from shared.stores.table import Table
from tests.memory_table import MemoryTable
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
AZURITE = ROOT / "node_modules" / ".bin" / "azurite-table"
TableFactory = Callable[[str], Table]


@pytest.fixture(scope="session")
def azurite_tables() -> Iterator[str]:
    """The connection string of an Azurite table service of this test process's own."""
    if not AZURITE.exists():
        pytest.skip("Azurite is not installed: run make test once")
    port, folder = free_port(), tempfile.mkdtemp(prefix="concord-azurite-")
    process = subprocess.Popen(
        [str(AZURITE), "--tablePort", str(port), "--location", folder, "--silent", "--skipApiVersionCheck",
         "--disableTelemetry"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for_http(port, process)
        key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        yield (
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
            f"AccountKey={key};TableEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        )
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["memory", "azurite"])
async def table_factory(request: pytest.FixtureRequest) -> AsyncIterator[TableFactory]:
    """Makes tables by name: the in-memory twin, and the real client on Azurite."""
    if request.param == "memory":
        made: dict[str, MemoryTable] = {}
        yield lambda name: made.setdefault(name, MemoryTable())
        return
    from azure.data.tables.aio import TableServiceClient

    from shared.stores.azure_table import AzureTable
    from shared.telemetry import Counters
    from shared.wiring import TABLES

    connection = request.getfixturevalue("azurite_tables")
    prefix = f"t{os.getpid()}x{time.monotonic_ns()}"
    async with TableServiceClient.from_connection_string(connection) as service:
        real = {name: AzureTable(service, f"{prefix}{name}", Counters()) for name in ("contract", *TABLES)}
        await asyncio.gather(*(table.create() for table in real.values()))
        yield real.__getitem__


def _wait_for_http(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers anything at all; fails loudly when it dies or takes half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Azurite ended with {process.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)  # between two looks at a process that is starting
        else:
            return
    raise RuntimeError("Azurite did not answer within 30 seconds")
