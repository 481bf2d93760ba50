"""Who owns what, held against what is mapped: no field without an owner, none owned and unmapped, no two owners of one
remote property (two systems that each write their own value back would never come to rest)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from shared.authority.ownership import Authority, FieldRule
from shared.mapping.engine import SYSTEMS, ObjectMap, System
from shared.review.findings import Finding, error, warning

BUILT_BY_RULES = {("order", "sap"), ("order_line", "sap")}
"""SAP's side of an order is a document that the ledger rules build: nothing of it is copied field by field."""


def review_ownership(authority: Authority, objects: Mapping[str, ObjectMap]) -> list[Finding]:
    """Every gap between the authority file and the mapping tables."""
    return [
        *_objects_apart(authority, objects),
        *(
            finding
            for name in sorted(authority.objects.keys() & objects)
            for finding in _fields(authority, objects[name])
        ),
        *_shared_properties(authority, objects),
        *_ambiguous_exceptions(authority),
    ]


def _objects_apart(authority: Authority, objects: Mapping[str, ObjectMap]) -> Iterator[Finding]:
    for name in sorted(authority.objects.keys() - objects.keys()):
        yield error(f"authority.yaml: {name}", "is governed but no mapping knows it", "add shared/mapping/ for it")
    for name in sorted(objects.keys() - authority.objects.keys()):
        yield error(f"mapping {name}", "is mapped but nobody owns it", "give it owners in authority.yaml")


def _fields(authority: Authority, table: ObjectMap) -> Iterator[Finding]:
    rules = authority.objects[table.object]
    mapped = {field.name: field for field in table.fields}
    for name in sorted(mapped.keys() - rules.keys()):
        yield error(f"mapping {table.object}.{name}", "is mapped but has no owner", "give it one in authority.yaml")
    for name in sorted(rules.keys() - mapped.keys()):
        yield error(f"authority.yaml: {table.object}.{name}", "is owned but not mapped", "map it, or stop governing it")
    for name in sorted(mapped.keys() & rules.keys()):
        for system in SYSTEMS:
            takes_part = system in {rules[name].owner, *rules[name].readers}
            where = f"{table.object}.{name}"
            if mapped[name].external(system) and not takes_part:
                yield warning(
                    where, f"{system} has a name for it but neither owns nor reads it", "name it a reader, or unmap it"
                )
            if system in rules[name].readers and not mapped[name].external(system) and _is_copied(table, system):
                yield error(
                    where, f"{system} reads it but has no name for it", f"map it to a property of {table.sets[system]}"
                )


def _is_copied(table: ObjectMap, system: str) -> bool:
    return system in table.sets and (table.object, system) not in BUILT_BY_RULES


def _shared_properties(authority: Authority, objects: Mapping[str, ObjectMap]) -> Iterator[Finding]:
    """One remote property under two governed fields: harmless only while both have the same owner."""
    users: dict[tuple[System, str, str], list[tuple[str, FieldRule]]] = defaultdict(list)
    for table in objects.values():
        for field in table.fields:
            rule = authority.objects.get(table.object, {}).get(field.name)
            for system in SYSTEMS:
                if rule is not None and system in table.sets and field.external(system):
                    users[system, table.sets[system], field.external(system)].append(
                        (f"{table.object}.{field.name}", rule)
                    )
    for (writer, entity_set, name), fields in sorted(users.items(), key=lambda one: one[0]):
        owners = {rule.owner for _, rule in fields}
        if len(owners) > 1:
            named = ", ".join(field for field, _ in fields)
            yield error(
                f"{writer} {entity_set}.{name}",
                f"is written from {named}, whose owners are {', '.join(sorted(owners))}: each would write its own back",
                "give both fields one owner",
            )


def _ambiguous_exceptions(authority: Authority) -> Iterator[Finding]:
    for object_name, name, rule in authority.every_field():
        for index, one in enumerate(rule.exceptions):
            for other in rule.exceptions[index + 1 :]:
                entities = {one.legal_entity, other.legal_entity} - {None}
                stages = {one.stage, other.stage} - {None}
                if len(entities) < 2 and len(stages) < 2 and one.owner != other.owner:
                    yield warning(
                        f"authority.yaml: {object_name}.{name}",
                        "two exceptions fit the same record and name different owners: the first counts",
                        "narrow one by legal_entity and stage",
                    )
