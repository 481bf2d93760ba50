"""Settings are told in four places that must agree: `shared/settings.py`, the Bicep, the example, the README's table.

`python -m infra.checks.settings` prints the table as it should stand in the README.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic.fields import FieldInfo

from infra.checks.deployment import Deployment, deploy
from infra.checks.findings import Finding
from shared.settings import EITHER, PLATFORM, Settings, names

_HEAD = ("| setting | what | without it | example | cloud |", "|---|---|---|---|---|")
_VAULT = "@Microsoft.KeyVault("
_LOCAL_ONLY = {*(local for local, _ in EITHER), "AzureWebJobsStorage", "FUNCTIONS_WORKER_RUNTIME", "Concord__traces"}


def check_settings(deployment: Deployment) -> Iterator[Finding]:
    """The deployment sets what the app needs, nothing that it does not know, and nothing of the local stack."""
    where, given = f"{deployment.label}: app settings", deployed_settings(deployment)
    for name in given:
        if name not in names() and name not in PLATFORM:
            yield Finding(f"{where} {name}", "is no setting of the app nor of its host")
        elif name in _LOCAL_ONLY:
            yield Finding(f"{where} {name}", "is for the local stack only")
        elif name.endswith("__credential") and given[name] != "managedidentity":
            yield Finding(f"{where} {name}", f"is {given[name]!r}: the host signs in with managedidentity")
    for name, field in names().items():
        known = Settings.model_fields[field]
        if name not in given and (known.is_required() or _twin(name) in _LOCAL_ONLY):
            yield Finding(f"{where} {name}", f"is missing: the {known.description}")


def check_example(root: Path) -> Iterator[Finding]:
    """The example names every setting that the app reads and what the local host needs, and no other."""
    example = read_example(root)
    wanted = {*names(), *(name for name in PLATFORM if name in _LOCAL_ONLY)}
    for name in sorted(wanted - example.keys()):
        yield Finding(f"local.settings.example.json {name}", "is missing: an example names every setting")
    for name in sorted(example.keys() - wanted):
        yield Finding(f"local.settings.example.json {name}", "is no setting of the app on a developer's machine")


def check_table(root: Path, deployment: Deployment) -> Iterator[Finding]:
    """The README's table is the one that follows from the other three."""
    wanted = table(read_example(root), deployed_settings(deployment))
    text = (root / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition("\n## Settings\n")
    found = [line for line in section.splitlines() if line.startswith("|")]
    for line in wanted:
        if line not in found:
            yield Finding("README.md: settings", f"the table lacks the line {line}")
    for line in found:
        if line not in wanted:
            yield Finding("README.md: settings", f"the table has a line that is not true: {line}")
    if sorted(found) == sorted(wanted) and found != wanted:
        yield Finding("README.md: settings", "the table's lines stand in another order than in shared/settings.py")


def table(example: Mapping[str, str], deployed: Mapping[str, str]) -> list[str]:
    """The lines of the README's table, in the order of `Settings`, then what the host itself reads."""
    lines = list(_HEAD)
    for name, field in names().items():
        known = Settings.model_fields[field]
        lines.append(_line(name, str(known.description), _without(name, known), example, deployed))
    for name, description in PLATFORM.items():
        lines.append(_line(name, description, "the host's", example, deployed))
    return lines


def read_example(root: Path) -> dict[str, str]:
    """The values of local.settings.example.json."""
    values: dict[str, str] = json.loads((root / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]
    return values


def deployed_settings(deployment: Deployment) -> dict[str, str]:
    """The app settings as they would be sent."""
    (found,) = [one for one in deployment.of_type("Microsoft.Web/sites/config") if one.name == "appsettings"]
    return {name: str(value) for name, value in found.body["properties"].items()}


def _line(name: str, what: str, without: str, example: Mapping[str, str], deployed: Mapping[str, str]) -> str:
    cloud = "–" if name not in deployed else "Key Vault" if deployed[name].startswith(_VAULT) else "deployment"
    return f"| `{name}` | {what} | {without} | {'set' if example.get(name) else '–'} | {cloud} |"


def _without(name: str, known: FieldInfo) -> str:
    if known.is_required():
        return "no start"
    if known.default is not None:
        return f"{known.default}"
    return f"`{_twin(name)}`" if _twin(name) else "–"


def _twin(name: str) -> str:
    """The setting that says the same in the other place; "" where there is none."""
    return next((one if other == name else other for one, other in EITHER if name in {one, other}), "")


def main() -> None:
    """Print the table."""
    root = Path(__file__).resolve().parents[2]
    deployment = deploy(root / "infra/main.bicep", root / "infra/parameters/prod.json")
    print("\n".join(table(read_example(root), deployed_settings(deployment))))


if __name__ == "__main__":
    main()
