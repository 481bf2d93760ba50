"""Remote metadata documents as one plain shape: service → entity set → property → kind of value.

Read are EDMX (`$metadata`, OData V2 and V4) and OpenAPI 3 documents. A service is known by its schema namespace
(EDMX) or by the last segment of its server's address (OpenAPI).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from shared.review.findings import Finding, error

Kind = Literal["text", "number", "flag", "time", "id", "link", "other"]
Properties = Mapping[str, Kind]

_EDM: dict[str, Kind] = {
    "String": "text",
    "Boolean": "flag",
    "Guid": "id",
    **dict.fromkeys(("Decimal", "Double", "Single", "Byte", "SByte", "Int16", "Int32", "Int64"), "number"),
    **dict.fromkeys(("DateTime", "DateTimeOffset", "Date", "Time", "TimeOfDay", "Duration"), "time"),
}
_BYTES_MAX = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Service:
    """One service as its document describes it."""

    name: str
    document: str
    sets: Mapping[str, Properties]


def read_metadata(folder: Path) -> tuple[dict[str, Service], list[Finding]]:
    """Every document of a folder; what cannot be read is a finding, not a reason to stop."""
    services: dict[str, Service] = {}
    findings: list[Finding] = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in {".edmx", ".xml", ".json"}:
            continue
        try:
            if path.stat().st_size > _BYTES_MAX:
                raise ValueError(f"is larger than {_BYTES_MAX} bytes")
            body = path.read_bytes()
            found = _openapi(body, path.name) if path.suffix == ".json" else _edmx(body, path.name)
        except (ParseError, DefusedXmlException, ValueError, KeyError, TypeError, AttributeError) as fault:
            findings.append(error(path.name, f"cannot be read: {fault}", "export the metadata document again"))
            continue
        services[found.name] = found
    return services, findings


def _edmx(body: bytes, document: str) -> Service:
    root = fromstring(body)
    schemas = [one for one in root.iter() if _tag(one) == "Schema"]
    types = {
        f"{schema.get('Namespace')}.{kind.get('Name')}": kind
        for schema in schemas
        for kind in schema
        if _tag(kind) in {"EntityType", "ComplexType"}
    }
    sets: dict[str, Properties] = {
        # Types without a set of their own are reached through others (items of an order): known by their own name.
        name.rpartition(".")[2].removesuffix("Type"): _properties(name, types)
        for name in types
    }
    for one in root.iter():
        if _tag(one) == "EntitySet":
            sets[one.attrib["Name"]] = _properties(one.attrib["EntityType"], types)
    if not types:
        raise ValueError("it declares no entity type")
    namespace = next(iter(types)).rpartition(".")[0]
    return Service(namespace, document, sets)


def _properties(type_name: str, types: Mapping[str, Element]) -> Properties:
    found: dict[str, Kind] = {}
    seen: set[str] = set()
    while type_name in types and type_name not in seen:
        seen.add(type_name)
        for part in types[type_name]:
            if _tag(part) == "Property":
                found[part.attrib["Name"]] = _EDM.get(part.attrib["Type"].removeprefix("Edm."), "other")
            elif _tag(part) == "NavigationProperty":
                found[part.attrib["Name"]] = "link"
        type_name = types[type_name].get("BaseType", "")
    return found


def _openapi(body: bytes, document: str) -> Service:
    described = json.loads(body)
    if "openapi" not in described:
        raise ValueError("it is no OpenAPI 3 document")
    schemas = described["components"]["schemas"]
    sets = {
        name: {prop: _kind(shape) for prop, shape in schema["properties"].items()}
        for name, schema in schemas.items()
        if isinstance(schema.get("properties"), dict)
    }
    return Service(described["servers"][0]["url"].rstrip("/").rpartition("/")[2], document, sets)


def _kind(shape: Mapping[str, Any]) -> Kind:
    match shape:
        case {"$ref": _} | {"type": "array"} | {"type": "object"} | {"allOf": _} | {"anyOf": _}:
            return "link"
        case {"type": "boolean"}:
            return "flag"
        case {"type": "number" | "integer"} | {"format": "decimal"}:
            return "number"
        case {"format": "date" | "date-time"}:
            return "time"
        case {"type": "string", "example": str(example)} if example.startswith("/Date("):
            return "time"
        case {"type": "string"}:
            return "text"
    return "other"


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]
