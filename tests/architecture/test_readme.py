"""The README tells the truth: its authority table is the policy file's, its flows are the app's, its links lead on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from shared.topics import TOPICS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_NAMES = {"sap": "SAP", "commerce": "Commerce", "dataverse": "Dataverse", "concord": "Concord"}


def section(heading: str) -> str:
    """The text below a heading, to the next one of its level."""
    return README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def authority_rows() -> list[str]:
    """Object, system of record, and what becomes of a change from anybody else, as the policy file says."""
    objects = yaml.safe_load((ROOT / "shared/authority/authority.yaml").read_text(encoding="utf-8"))["objects"]
    told: list[str] = []
    for name, fields in objects.items():
        owned: dict[str, dict[str, list[str]]] = {}
        for field, rule in fields.items():
            owned.setdefault(_owner(rule), {}).setdefault(rule["on_conflict"], []).append(field.replace("_", " "))
        for owner, answers in owned.items():
            cells = [", ".join(answers.get(answer, ())) or "–" for answer in ("restore", "hold", "accept_once")]
            told.append(f"| {name.replace('_', ' ')} | {owner} | {' | '.join(cells)} |")
    return told


def _owner(rule: dict[str, Any]) -> str:
    later = [f"{_NAMES[other['owner']]} once {other['stage']}" for other in rule.get("except", ()) if "stage" in other]
    return ", ".join([_NAMES[rule["owner"]], *later])


def test_the_authority_table_is_the_policy_file() -> None:
    assert rows(section("What each system owns")) == authority_rows()


def test_every_flow_of_the_table_has_a_door_and_every_message_flow_and_timer_is_in_it() -> None:
    named = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows(section("Flows")))))
    doors = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "functions").glob("*.py")}
    registered = set(re.findall(r'\.function_name\("(\w+)"\)', "\n".join(doors.values()))) | set(doors)
    assert named <= registered
    timers = set(re.findall(r'\.function_name\("(\w+)"\)\n@bp\.timer_trigger', "\n".join(doors.values())))
    assert set(TOPICS) | timers <= named


def test_every_link_of_the_readme_and_the_documents_leads_somewhere() -> None:
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "infra").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert "://" in target or (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_make_target_and_path_that_the_documents_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"`make ([a-z]+)", text)) <= targets, path.name
        for name in re.findall(r"`((?:scripts|infra|shared|functions|sandbox|bench)/[\w./-]+)`", text):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
