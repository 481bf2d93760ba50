"""Holds each resource to `types.yaml`: its type, its version, its name, and every property, however deep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.checks.deployment import Deployed, Deployment
from infra.checks.findings import Finding

TABLE = Path(__file__).with_name("types.yaml")
_WORDS: dict[str, type] = {"string": str, "int": int, "bool": bool}


@cache
def read_table() -> dict[str, Any]:
    """The table, by resource type."""
    table: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table


def check_types(deployment: Deployment) -> Iterator[Finding]:
    """Every resource against the table."""
    for resource in deployment.resources:
        for what in faults_of(resource):
            yield Finding(resource.where, what)


def faults_of(resource: Deployed) -> Iterator[str]:
    """What is wrong with one resource."""
    known = read_table().get(resource.type)
    if known is None:
        yield f"the type {resource.type} is not in {TABLE.name}"
        return
    if resource.version != known["version"]:
        yield f"the API version of {resource.type} is {resource.version}, this project uses {known['version']}"
    expected_parent = resource.type.rpartition("/")[0] if resource.type.count("/") > 1 else ""
    if resource.parent_type != expected_parent:
        yield f"a {resource.type} needs the parent {expected_parent}, it has {resource.parent_type or 'none'}"
    if not re.fullmatch(known.get("name", ".+"), resource.name):
        yield f"the name {resource.name!r} does not match {known['name']}"
    body = known["by name"].get(resource.name) if "by name" in known else known["body"]
    if body is None:
        yield f"{resource.type} has no part named {resource.name}"
        return
    yield from _object(resource.body, body, "")


def _value(value: Any, expected: Any, path: str) -> Iterator[str]:
    if expected == "any":
        return
    if isinstance(expected, str):
        word = _WORDS[expected]
        if not isinstance(value, word) or (word is int and isinstance(value, bool)):
            yield f"{path} is {value!r}, not of type {expected}"
    elif isinstance(expected, list):
        if not any(value == right and type(value) is type(right) for right in expected):
            yield f"{path} is {value!r}, right is {' or '.join(repr(right) for right in expected)}"
    elif "like" in expected:
        if not isinstance(value, str) or not re.search(expected["like"], value):
            yield f"{path} is {value!r}, it must match {expected['like']}"
    elif (decides := next((key for key in expected if key.startswith("by ")), None)) is not None:
        chosen = value.get(decides.removeprefix("by ")) if isinstance(value, dict) else None
        if chosen not in expected[decides]:
            yield f"{path}.{decides.removeprefix('by ')} is {chosen!r}, none of {', '.join(expected[decides])}"
        else:
            yield from _object(value, expected[decides][chosen], path)
    elif "each of" in expected:
        if not isinstance(value, list):
            yield f"{path} is {value!r}, not an array"
            return
        for number, item in enumerate(value):
            yield from _value(item, expected["each of"], f"{path}[{number}]")
    else:
        yield from _object(value, expected, path)


def _object(value: Any, expected: dict[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is {value!r}, not an object"
        return
    dot = f"{path}." if path else ""
    names = {name.removesuffix("!"): kind for name, kind in expected.items() if name != "any name"}
    for name in sorted(name.removesuffix("!") for name in expected if name.endswith("!")):
        if value.get(name) is None:
            yield f"{dot}{name} is missing"
    for name, inner in value.items():
        if name in names:
            if inner is not None:
                yield from _value(inner, names[name], f"{dot}{name}")
        elif "any name" in expected:
            yield from _value(inner, expected["any name"], f"{dot}{name}")
        else:
            yield f"there is no property {dot}{name}"
