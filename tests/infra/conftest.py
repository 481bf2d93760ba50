"""A copy of what the checks of the infrastructure read, for tests that break it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project as far as `infra.checks` reads it."""
    for name in ("infra", "functions", "docs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "checks"))
    (tmp_path / "sandbox" / "broker").mkdir(parents=True)
    shutil.copy(ROOT / "sandbox/broker/Config.json", tmp_path / "sandbox/broker/Config.json")
    for name in ("host.json", "local.settings.example.json", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path
