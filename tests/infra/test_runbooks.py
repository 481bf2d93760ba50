"""A runbook is read at night: its parts are where they are expected, and what it says to type is there to be typed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from functions.openapi import DOCUMENT
from tests.infra.conftest import ROOT

FOLDER = ROOT / "docs" / "runbooks"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
IDS = [path.stem for path in RUNBOOKS]
EVERY = [FOLDER / "README.md", *RUNBOOKS]
NEEDED = {
    "dead-letters", "sap-down", "dataverse-throttling", "rotation", "restoring-state", "replaying-a-day",
    "disaster-recovery", "scaling-past-one-region",
}  # fmt: skip


def commands(text: str) -> str:
    """What is to be typed: blocks and, between backquotes, whole commands."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)])


def test_there_is_a_runbook_for_each_kind_of_night() -> None:
    assert set(IDS) >= NEEDED
    overview = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({path.name})" in overview for path in RUNBOOKS)


@pytest.mark.parametrize("path", RUNBOOKS, ids=IDS)
def test_a_runbook_goes_from_the_symptom_to_how_to_know_that_it_is_over(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parts = [r"\*\*Symptom\.\*\*", r"\*\*Alerts?\.\*\*", "## What to look at", "## What to do",
             "## How to know it is over"]  # fmt: skip
    places = [found.start() for found in (re.search(part, text) for part in parts) if found]
    assert len(places) == len(parts)
    assert places == sorted(places)


@pytest.mark.parametrize("path", EVERY, ids=[path.stem for path in EVERY])
def test_every_door_a_runbook_calls_is_there(path: Path) -> None:
    called = re.findall(
        r"concord (GET|POST) \"?([\w/$<>{}-]+(?: number>)?)", commands(path.read_text(encoding="utf-8"))
    )
    for method, way in called:
        if way.startswith("${"):  # a link that the app itself gave
            continue
        assert _door(method, way), f"concord {method} {way}"


@pytest.mark.parametrize("path", EVERY, ids=[path.stem for path in EVERY])
def test_every_query_step_and_name_a_runbook_uses_is_there(path: Path) -> None:
    typed = commands(path.read_text(encoding="utf-8"))
    for query in re.findall(r"(?:^|[\s(])kql ([a-z-]+)", typed):
        assert (ROOT / f"infra/queries/{query}.kql").is_file(), query
    for step in re.findall(r"(?<![\w./-])([a-z-]+\.sh)\b", typed):
        assert (ROOT / f"scripts/deploy/{step}").is_file(), step
    bicep = (ROOT / "infra/main.bicep").read_text(encoding="utf-8")
    for output in re.findall(r"\bout (\w+)", typed):
        assert f"output {output} " in bicep, output
    given = set(re.findall(r"\b([A-Z_]{2,})=", (FOLDER / "README.md").read_text(encoding="utf-8")))
    own = set(re.findall(r"\b([A-Z_]{2,})=|read -rs ([A-Z]+)", typed))
    for name in re.findall(r"\$\{?([A-Z_]{2,})\b", typed):
        assert name in given | {one for pair in own for one in pair}, f"${name} is set nowhere"


@pytest.mark.parametrize("path", EVERY, ids=[path.stem for path in EVERY])
def test_every_block_is_a_script_that_bash_can_read(path: Path) -> None:
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE):
        script = re.sub(r"<[a-z ]+>", "PLACE", block)
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{block}"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed: its programs are not read")
@pytest.mark.parametrize("path", EVERY, ids=[path.stem for path in EVERY])
def test_every_jq_program_of_a_runbook_compiles(path: Path) -> None:
    for program in re.findall(r"jq (?:-r )?'([^']+)'", commands(path.read_text(encoding="utf-8"))):
        done = subprocess.run(["jq", "-n", f"def main: {program}; 1"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program}: {done.stderr}"


def _door(method: str, way: str) -> bool:
    """Whether a described path fits; what stands for a value (`$id`, `<number>`) fits any part."""
    for path, item in DOCUMENT["paths"].items():
        parts, wanted = path.removeprefix("/").split("/"), way.split("/")
        fits = len(parts) == len(wanted) and all(
            have == want or have.startswith("{") or want.startswith(("$", "<"))
            for have, want in zip(parts, wanted, strict=True)
        )
        if fits and method.lower() in item:
            return True
    return False
