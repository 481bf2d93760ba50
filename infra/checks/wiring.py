"""Nothing is declared for nobody, nothing is asked for that nobody gives: parameters, variables, modules, outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from infra.checks.deployment import Deployment
from infra.checks.findings import Finding
from infra.checks.syntax import read_file, text_of, walk


def check_all_used(folder: Path) -> Iterator[Finding]:
    """Parameters and variables that nothing reads, module files that nothing opens."""
    opened = {folder / "main.bicep"}
    for path in sorted(folder.rglob("*.bicep")):
        file = read_file(path)
        opened |= {(path.parent / module.target).resolve() for module in file.modules.values()}
        nodes = [
            *file.variables.values(),
            *file.outputs.values(),
            *(parameter.default for parameter in file.parameters.values() if parameter.default is not None),
            *(declaration.value for declaration in (*file.resources.values(), *file.modules.values())),
        ]
        used = {
            text_of(node) for root in nodes for node in walk(root) if node.type == "identifier" and not _is_key(node)
        }
        for name in [*file.parameters, *file.variables]:
            if name not in used:
                yield Finding(f"{path.name} {name}", "is declared and never used")
    for path in sorted(folder.rglob("*.bicep")):
        if path.resolve() not in {each.resolve() for each in opened}:
            yield Finding(path.name, "is opened by no module")


def check_outputs(root: Path) -> Iterator[Finding]:
    """What the steps of a deployment read from its outputs is given by it."""
    given = read_file(root / "infra" / "main.bicep").outputs
    for path in sorted((root / "scripts" / "deploy").glob("*.sh")):
        for name in re.findall(r"\boutput_of (\w+)", path.read_text(encoding="utf-8")):
            if name not in given:
                yield Finding(f"{path.name} {name}", "is read from the deployment, but main.bicep has no such output")


def check_all_deployed(deployments: Iterable[Deployment]) -> Iterator[Finding]:
    """Declarations that no parameter file brings to life are never checked by anything."""
    every = list(deployments)
    reached = {name for deployment in every for name in deployment.reached}
    for name in sorted({name for deployment in every for name in deployment.declared} - reached):
        yield Finding(name, "is deployed by no parameter file, so nothing here has checked it")


def _is_key(node: object) -> bool:
    parent = getattr(node, "parent", None)
    return parent is not None and parent.type == "object_property" and parent.named_children[0] == node
