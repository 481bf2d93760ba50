"""Seeded mutations: break one sentence of a protocol in a copy of the tree, and see whether its proof notices.

A mutation replaces one text that stands exactly once in one file. The proof named beside it is run in the copy by a
process of its own; it is caught when that run fails. A mutation whose text is not there any more fails loudly: the
list would otherwise rot into praise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_COPIED = ("shared", "functions", "sandbox", "tests")
_LINKED = ("node_modules",)
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Mutation:
    """`breaks` says in plain words which rule is gone; `proof` is the pytest selection that has to fail.

    `also` are further texts of the same file and what stands in their place, where one change takes several edits.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    proof: str
    also: tuple[tuple[str, str], ...] = ()


def is_caught(mutation: Mutation, folder: Path) -> bool:
    """Run the mutation's proof in a mutated copy below `folder`. Raises AssertionError where the text has moved."""
    copy = folder / mutation.name.replace(" ", "-")
    for name in _COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy / path.name)
    for name in _LINKED:
        (copy / name).symlink_to(ROOT / name)
    target = copy / mutation.file
    target.write_text(mutated(mutation, target.read_text(encoding="utf-8")), encoding="utf-8")
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        *proof_of(mutation),
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(line, cwd=copy, env=environment, capture_output=True, timeout=_TIMEOUT_SECONDS, text=True)
    shutil.rmtree(copy)
    if run.returncode not in (0, 1):
        raise AssertionError(f"{mutation.name}: the proof did not run (exit {run.returncode}):\n{run.stdout[-3000:]}")
    return run.returncode == 1


def mutated(mutation: Mutation, source: str) -> str:
    """The source with the mutation in it. Raises AssertionError unless each text stands there exactly once."""
    for old, new in ((mutation.old, mutation.new), *mutation.also):
        found = source.count(old)
        assert found == 1, f"{mutation.name}: its text stands {found} times in {mutation.file}"
        source = source.replace(old, new)
    return source


def proof_of(mutation: Mutation) -> list[str]:
    """The pytest arguments of a proof: files or node ids, perhaps with `-k words` behind them."""
    paths, _, words = mutation.proof.partition(" -k ")
    return [*paths.split(), *(["-k", words] if words else [])]


def as_document(title: str, intro: str, mutations: Sequence[Mutation], caught: int) -> str:
    """The list and the catch rate as a Markdown page; the same text for the same list."""
    rows = "\n".join(f"| {one.name} | {one.breaks} | `{one.file}` | `{one.proof}` |" for one in mutations)
    return (
        f"# {title}\n\n{intro}\n\n**Caught: {caught} of {len(mutations)}.** Made by `make prove`.\n\n"
        f"| mutation | what it breaks | where | caught by |\n|---|---|---|---|\n{rows}\n"
    )
