"""The description of the doors tells of every door there is, and of none that is not."""

from __future__ import annotations

import importlib
import itertools
import pkgutil

import functions
from functions.openapi import DOCUMENT

_SPELLED = {"decision": ("replay", "resolve", "discard")}


def doors() -> set[tuple[str, str]]:
    """(method, path) of every HTTP function; a path parameter that stands for words is spelled out."""
    found: set[tuple[str, str]] = set()
    for module in pkgutil.iter_modules(functions.__path__, "functions."):
        blueprint = getattr(importlib.import_module(module.name), "bp", None)
        for builder in blueprint._function_builders if blueprint is not None else ():
            trigger = builder._function.get_trigger()
            if trigger.type != "httpTrigger":
                continue
            words = [(name, _SPELLED[name]) for name in _SPELLED if f"{{{name}}}" in trigger.route]
            for chosen in itertools.product(*(values for _, values in words)):
                path = trigger.route
                for (name, _), word in zip(words, chosen, strict=True):
                    path = path.replace(f"{{{name}}}", word)
                found |= {(getattr(method, "value", str(method)).lower(), f"/{path}") for method in trigger.methods}
    return found


def described() -> set[tuple[str, str]]:
    return {
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method in {"get", "post", "put", "patch", "delete", "options"}
    }


def test_every_door_is_described_and_nothing_else() -> None:
    known = doors()
    assert described() - known == set()
    assert {one for one in known if one[0] != "options"} - described() == set()


def test_every_reference_in_the_description_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [str(value["$ref"])] if "$ref" in value else []
            return own + [one for inner in value.values() for one in references(inner)]
        return [one for inner in value for one in references(inner)] if isinstance(value, list) else []

    assert {one.removeprefix("#/components/schemas/") for one in references(DOCUMENT)} <= set(schemas)
