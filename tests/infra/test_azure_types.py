"""The project's own table and what it deploys, against the published type definitions of Azure Resource Manager."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.checks.deployment import deploy
from infra.checks.types import read_table
from tests.infra.conftest import ROOT

_DATA = os.environ.get("CONCORD_TEST_DATA", "")
pytestmark = pytest.mark.skipif(
    not (_DATA and (Path(_DATA) / "arm-types.json").is_file()),
    reason="CONCORD_TEST_DATA is not set: no published type definitions to compare with",
)
_REQUIRED, _READ_ONLY = 1, 2
_GIVEN_BY_THE_PATH = {"id", "name", "type", "apiVersion"}


@pytest.fixture(scope="module")
def arm() -> dict[str, Any]:
    published: dict[str, Any] = json.loads((Path(_DATA) / "arm-types.json").read_text(encoding="utf-8"))
    return published


def _object_of(arm: dict[str, Any], kind: Any, value: Any) -> dict[str, Any]:
    """The object type behind an index, with the variant that the value's discriminator chooses."""
    found: dict[str, Any] = arm["types"][kind]
    if "d" in found and isinstance(value, dict):
        chosen = value.get(found["d"])
        assert chosen in found["of"], f"{found['d']} {chosen!r} is none of {sorted(found['of'])}"
        variant = arm["types"][found["of"][chosen]]
        return {"o": {**found.get("o", {}), **variant.get("o", {})}, "x": variant.get("x", found.get("x"))}
    return found


def _faults(arm: dict[str, Any], kind: Any, value: Any, path: str) -> Iterator[str]:
    match kind:
        case int():
            yield from _object_faults(arm, _object_of(arm, kind, value), value, path)
        case "any" | None:
            return
        case {"a": inner}:
            if not isinstance(value, list):
                yield f"{path} is no array"
                return
            for number, item in enumerate(value):
                yield from _faults(arm, inner, item, f"{path}[{number}]")
        case {"u": variants}:
            if all(list(_faults(arm, variant, value, path)) for variant in variants):
                yield f"{path} is {value!r}, of none of its types"
        case {"e": allowed} if not kind.get("open"):
            if value not in allowed:
                yield f"{path} is {value!r}, none of {allowed}"
        case {"e": allowed} if isinstance(value, str) and value not in allowed:
            yield f"{path} is {value!r}, none of the known {allowed}"
        case "string" | {"t": "string"}:
            if not isinstance(value, str):
                yield f"{path} is {value!r}, no string"
        case "int" | {"t": "int"}:
            if not isinstance(value, int) or isinstance(value, bool):
                yield f"{path} is {value!r}, no number"
        case "bool":
            if not isinstance(value, bool):
                yield f"{path} is {value!r}, neither true nor false"
        case _:
            return


def _object_faults(arm: dict[str, Any], known: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is {value!r}, no object"
        return
    for name, inner in value.items():
        if name in known.get("o", {}):
            kind, *flags = known["o"][name]
            if flags and flags[0] & _READ_ONLY:
                yield f"{path}.{name} can only be read"
            if inner is not None:
                yield from _faults(arm, kind, inner, f"{path}.{name}")
        elif known.get("x") is None:
            yield f"{path} has no property {name}"
        else:
            yield from _faults(arm, known["x"], inner, f"{path}.{name}")
    for name, (_, *flags) in known.get("o", {}).items():
        if flags and flags[0] & _REQUIRED and name not in value and name not in _GIVEN_BY_THE_PATH:
            yield f"{path}.{name} is required"


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_every_resource_version_and_property_is_published_and_none_required_is_missing(
    arm: dict[str, Any], environment: str
) -> None:
    deployment = deploy(ROOT / "infra/main.bicep", ROOT / f"infra/parameters/{environment}.json")
    faults = []
    for resource in deployment.resources:
        published = arm["resources"].get(f"{resource.type}@{resource.version}")
        if published is None:
            faults.append(f"{resource.where}: {resource.type}@{resource.version} is not published")
            continue
        # the name chooses between the variants of one type, so it is part of what is looked at
        body = {**resource.body, "name": resource.name}
        known = dict(_object_of(arm, published["body"], body))
        known["o"] = {**known.get("o", {}), "name": ["string"]}
        faults += [f"{resource.where}{fault}" for fault in _object_faults(arm, known, body, "")]
    assert len(deployment.resources) > 50
    assert not faults, "\n".join(faults)


def test_our_own_table_claims_no_property_that_is_not_published(arm: dict[str, Any]) -> None:
    faults = []
    for name, entry in read_table().items():
        published = arm["resources"].get(f"{name}@{entry['version']}")
        if published is None:
            faults.append(f"{name}@{entry['version']} is not published")
            continue
        for variant, body in entry.get("by name", {"": entry.get("body")}).items():
            known = _object_of(arm, published["body"], {"name": variant})
            faults += [f"{name}{fault}" for fault in _table_faults(arm, known, body, "")]
    assert not faults, "\n".join(faults)


def _table_faults(arm: dict[str, Any], known: dict[str, Any], ours: dict[str, Any], path: str) -> Iterator[str]:
    for written, expected in ours.items():
        name = written.removesuffix("!")
        if name == "any name":
            if known.get("x") is None:
                yield f"{path} takes no other names"
            continue
        if name not in known.get("o", {}):
            if known.get("x") is None:
                yield f"{path} has no property {name}"
            continue
        kind = known["o"][name][0]
        while isinstance(kind, dict) and "a" in kind and isinstance(expected, dict) and "each of" in expected:
            kind, expected = kind["a"], expected["each of"]
        if isinstance(kind, int) and isinstance(expected, dict) and not {"like", "each of"} & expected.keys():
            inner = arm["types"][kind]
            if "d" in inner:  # our table names the variants that we use
                for chosen, variant in expected[f"by {inner['d']}"].items():
                    yield from _table_faults(
                        arm, _object_of(arm, kind, {inner["d"]: chosen}), variant, f"{path}.{name}"
                    )
                continue
            yield from _table_faults(arm, inner, expected, f"{path}.{name}")
    for name, (_, *flags) in known.get("o", {}).items():
        required = flags and flags[0] & _REQUIRED and not flags[0] & _READ_ONLY
        if required and name not in _GIVEN_BY_THE_PATH and f"{name}!" not in ours:
            yield f"{path}.{name} is required there, not in our table"
