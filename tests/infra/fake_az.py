"""A stand-in for the Azure CLI on PATH: writes down what it was asked, answers from a table, fails where told to.

It proves the order of calls, what stops at the first error, and that no secret stands on a command line. It proves
nothing about Azure.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

ANSWERS = {
    "properties.outputs.functionAppName.value": "func-concord-dev-x",
    "properties.outputs.functionAppHost.value": "func-concord-dev-x.azurewebsites.net",
    "properties.outputs.keyVaultName.value": "kvconcorddevx",
    "properties.outputs.deploymentStorageName.value": "dconcorddevx",
    "properties.outputs.serviceBusName.value": "sb-concord-dev-x",
    "properties.outputs.stateStorageName.value": "sconcorddevx",
    "topic subscription list": "one\nanother",
    "topic subscription rule list": "",
    "ad app list": "",
    "ad app create": "22222222-2222-2222-2222-222222222222",
    "ad app show": "33333333-3333-3333-3333-333333333333",
    "ad sp list": "",
    "ad signed-in-user show": "44444444-4444-4444-4444-444444444444",
    "keyvault list": "/subscriptions/x/vaults/kvconcorddevx",
    "length(@)": "0",
    "functionKeys.default": "the-default-host-key",
    "functionKeys | keys(@)": "",
    'functionKeys."dataverse"': "the-webhook-key",
    'functionKeys."dataverse-2"': "the-second-webhook-key",
    "get-access-token": "a-token",
}


@dataclass(slots=True)
class FakeAz:
    """Where the stand-in lies, and what it has been asked."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every call, in order."""
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def commands(self) -> list[str]:
        """Every call up to its first option: what was done, in order; looking things up left out."""
        verbs = []
        for call in self.calls:
            words = []
            for word in call:
                if word.startswith("-"):
                    break
                words.append(word)
            verbs.append(" ".join(words))
        looking = (
            "account show", "deployment group show", "functionapp keys list", "keyvault secret list",
            "servicebus topic subscription list", "servicebus topic subscription rule list",
        )  # fmt: skip
        return [verb for verb in verbs if verb not in looking]

    @property
    def taken_in(self) -> list[str]:
        """What was handed over on standard input."""
        log = self.folder / "stdin.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def install(folder: Path, *, fail: str = "", **answers: str) -> FakeAz:
    """Put an `az` into the folder. `fail`: calls that contain this exit 1. `answers` by a part of the arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "answers.json").write_text(
        json.dumps(answers | {part: ANSWERS[part] for part in ANSWERS if part not in answers})
    )
    (folder / "fail").write_text(fail)
    program = folder / "az"
    program.write_text(f"#!{sys.executable}\n" + _PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return FakeAz(folder, {**os.environ, "PATH": path, "AZURE_RESOURCE_GROUP": "rg-concord-dev"})


_PROGRAM = """
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
with (folder / "calls.jsonl").open("a") as log:
    log.write(json.dumps(arguments) + "\\n")
line = " ".join(arguments)
if "/dev/stdin" in arguments:
    with (folder / "stdin.jsonl").open("a") as log:
        log.write(json.dumps(sys.stdin.read()) + "\\n")
fail = (folder / "fail").read_text()
if fail and fail in line:
    sys.exit("ERROR: (Told) " + fail + " does not work today")
answers = json.loads((folder / "answers.json").read_text())
for part, answer in answers.items():
    if part in line:
        print(answer)
        break
"""
