"""The rooms: who may import whom, what stays at the edges, and that a cold start pays for nothing it does not use."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.package import LATE

ROOT = Path(__file__).resolve().parents[2]
DOWNHILL = (
    ("functions", "function_app"),
    ("shared.flows",),
    ("shared.delivery", "shared.posting", "shared.originals", "shared.approving"),
    ("shared.placing",),
    ("shared.reports", "shared.review"),
    ("shared.wiring",),
    ("shared.clients", "shared.stores"),
    ("shared.messaging",),
    ("shared.mapping",),
    ("shared.domain",),
    ("shared.authority",),
    ("shared.domain.money",),
    ("shared.telemetry",),
    ("shared.settings",),
    ("shared.exact_json", "shared.topics"),
    ("shared.errors",),
)
"""Imports fall downhill; rooms on one line are level with each other. Money lies below policy, which states amounts."""
LEVEL_ALLOWED = {
    "shared.clients",
    "shared.stores",
    "shared.domain",
    "shared.authority",
    "shared.mapping",
    "shared.telemetry",
    "functions",
}
"""Rooms whose own modules build on each other. Flows never do."""


def modules(*folders: str) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imports_of(path: Path, *, at_runtime_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(id(inner) for inner in ast.walk(node))
    for node in ast.walk(tree):
        if id(node) in skipped and at_runtime_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level_of(module: str) -> int | None:
    best: tuple[int, int] | None = None
    for level, rooms in enumerate(DOWNHILL):
        for room in rooms:
            if (module == room or module.startswith(f"{room}.")) and (best is None or len(room) > best[0]):
                best = (len(room), level)
    return None if best is None else best[1]


def room_of(module: str) -> str:
    return next((r for rooms in DOWNHILL for r in rooms if module == r or module.startswith(f"{r}.")), module)


PRODUCT = [("function_app", ROOT / "function_app.py"), *modules("shared", "functions")]


@pytest.mark.parametrize(("module", "path"), PRODUCT, ids=[module for module, _ in PRODUCT])
def test_imports_fall_downhill(module: str, path: Path) -> None:
    own = level_of(module)
    assert own is not None or module in ("shared", "functions"), f"{module} belongs to no room"
    for imported in imports_of(path, at_runtime_only=True):
        if not imported.startswith(("shared", "functions", "function_app")):
            continue
        other = level_of(imported)
        if other is None or own is None:
            continue
        assert other >= own, f"{module} imports {imported}, which lies uphill"
        if other == own and room_of(imported) not in LEVEL_ALLOWED and module not in ("shared.review",):
            assert (
                room_of(module).startswith(("shared.reports", "shared.review")) or module == imported.rsplit(".", 1)[0]
            ), f"{module} imports {imported} of its own level"


@pytest.mark.parametrize(("module", "path"), PRODUCT, ids=[module for module, _ in PRODUCT])
def test_the_product_knows_nothing_of_the_sandbox(module: str, path: Path) -> None:
    assert not [name for name in imports_of(path) if name.split(".")[0] in ("sandbox", "tests", "bench")]


SANDBOX = list(modules("sandbox"))


@pytest.mark.parametrize(("module", "path"), SANDBOX, ids=[module for module, _ in SANDBOX])
def test_the_sandbox_knows_nothing_of_the_product(module: str, path: Path) -> None:
    assert not [name for name in imports_of(path) if name.split(".")[0] in ("shared", "functions", "function_app")]


def test_azure_functions_appears_only_in_doors_and_messaging() -> None:
    allowed = ("functions.", "function_app", "shared.messaging", "shared.delivery")
    users = [m for m, path in PRODUCT if any(name.startswith("azure.functions") for name in imports_of(path))]
    assert [module for module in users if not module.startswith(allowed)] == []


def test_http_and_azure_clients_stay_at_the_edges() -> None:
    allowed = ("shared.clients", "shared.stores", "shared.messaging", "shared.telemetry", "shared.wiring")
    edges = (
        "aiohttp",
        "azure.core",
        "azure.data",
        "azure.identity",
        "azure.servicebus",
        "azure.storage",
        "azure.monitor",
    )
    users = [m for m, path in PRODUCT if any(name.startswith(edges) for name in imports_of(path))]
    assert [module for module in users if not module.startswith(allowed)] == []


def test_rules_do_no_io() -> None:
    forbidden = ("asyncio", "aiohttp", "azure", "os", "pathlib", "socket", "subprocess", "requests", "urllib.request")
    for module, path in modules("shared/domain"):
        names = {name for name in imports_of(path) if name.split(".")[0] in forbidden or name in forbidden}
        assert not names, f"{module} imports {names}"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef)], f"{module} is not synchronous"


def test_importing_the_app_opens_no_connection_and_loads_nothing_it_does_not_use() -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('a connection at import')\n"
        "socket.socket.connect = refuse\n"
        "import function_app\n"
        f"late = {LATE!r}\n"
        "print([m for m in late if m in sys.modules])\n"
    )
    example = json.loads((ROOT / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | example
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
