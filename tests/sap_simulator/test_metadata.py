"""Claims about the typed models: they are the original's, as far as they go."""

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring

from sandbox.kit.simulator import Settings
from sandbox.sap.edm import Edm, EntityType, Property
from sandbox.sap.metadata import edmx
from sandbox.sap.simulator import SapSimulator
from tests.sap_simulator.caller import PASSWORD

_EDM = "{http://schemas.microsoft.com/ado/2008/09/edm}"
_SAP = "{http://www.sap.com/Protocols/SAPData}"
SERVICES = SapSimulator(Settings(), password=PASSWORD).services


def original(name: str) -> bytes:
    folder = os.environ.get("CONCORD_TEST_DATA")
    if not folder:
        pytest.skip("CONCORD_TEST_DATA is not set: no original metadata to compare with")
    path = Path(folder) / "sap" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the test data")
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


@pytest.mark.parametrize("service", SERVICES)
def test_metadata_is_well_formed_and_every_association_has_its_ends(service: str) -> None:
    document = fromstring(edmx(SERVICES[service]))
    associations = {found.get("Name") for found in document.iter(f"{_EDM}Association")}
    used = {str(found.get("Relationship")).rpartition(".")[2] for found in document.iter(f"{_EDM}NavigationProperty")}
    assert used == associations == {found.get("Name") for found in document.iter(f"{_EDM}AssociationSet")}


@pytest.mark.parametrize("service", SERVICES)
def test_every_unit_names_a_property_of_its_type(service: str) -> None:
    for entity_set in SERVICES[service].sets.values():
        known = entity_set.type.properties
        assert {p.unit for p in known.values() if p.unit} <= set(known), entity_set.name


@pytest.mark.parametrize("service", SERVICES)
def test_every_value_that_is_read_is_declared(service: str) -> None:
    for entity_set in SERVICES[service].sets.values():
        assert set(entity_set.read or {}) <= set(entity_set.type.properties), entity_set.name


@pytest.mark.parametrize("service", ["API_BUSINESS_PARTNER", "API_SLSPRICINGCONDITIONRECORD_SRV"])
def test_types_lengths_keys_and_permissions_are_those_of_the_original_metadata(service: str) -> None:
    document = fromstring(original(f"{service}.edmx"))
    originals = {found.get("Name"): found for found in document.iter(f"{_EDM}EntityType")}
    for entity_set in SERVICES[service].sets.values():
        found = originals[entity_set.type.name]
        declared = {p.get("Name"): p for p in found.iter(f"{_EDM}Property")}
        keys = [key.get("Name") for key in found.iter(f"{_EDM}PropertyRef")]
        assert [key.name for key in entity_set.type.keys] == keys
        for own in entity_set.type.properties.values():
            theirs = declared[own.name]
            assert theirs.get("Type") == own.edm, own.name
            assert _number(theirs.get("MaxLength")) == own.max_length, own.name
            if own.edm is Edm.DECIMAL:
                assert (_number(theirs.get("Precision")), _number(theirs.get("Scale"))) == (own.precision, own.scale)
            if not own.key:
                assert (theirs.get(f"{_SAP}creatable") != "false") == own.creatable, own.name
                assert (theirs.get(f"{_SAP}updatable") != "false") == own.updatable, own.name
            assert (theirs.get("ConcurrencyMode") == "Fixed") <= own.etag, own.name
        links = {link.get("Name") for link in found.iter(f"{_EDM}NavigationProperty")}
        assert set(entity_set.type.navigations) <= links


@pytest.mark.parametrize("service", ["API_SALES_ORDER_SRV", "API_SALES_ORDER_SIMULATION_SRV", "API_MATERIAL_STOCK_SRV"])
def test_types_lengths_and_permissions_are_those_of_the_original_api_specification(service: str) -> None:
    schemas = json.loads(original(f"{service}.openapi.json"))["components"]["schemas"]
    for entity_set in SERVICES[service].sets.values():
        theirs = schemas[entity_set.name]["properties"]
        creatable = schemas.get(f"Create{entity_set.name}", {}).get("properties", {})
        updatable = schemas.get(f"Update{entity_set.name}", {}).get("properties", {})
        assert set(entity_set.type.navigations) <= set(theirs), entity_set.name
        for own in entity_set.type.properties.values():
            _compare(entity_set.type, own, theirs[own.name])
            if entity_set.create or entity_set.update:
                assert not own.creatable or own.name in creatable, own.name
                assert not own.updatable or own.name in updatable, own.name


def _compare(entity_type: EntityType, own: Property, theirs: dict[str, Any]) -> None:
    where = f"{entity_type.name}.{own.name}"
    assert theirs.get("maxLength") == own.max_length, where
    match own.edm:
        case Edm.DECIMAL:
            assert (theirs["x-sap-precision"], theirs["x-sap-scale"]) == (own.precision, own.scale), where
        case Edm.BOOLEAN:
            assert theirs["type"] == "boolean", where
        case Edm.DATETIME | Edm.OFFSET:
            assert re.match(r"/Date\(", theirs["example"]), where
        case Edm.GUID:
            assert theirs["format"] == "uuid", where
        case _:
            assert theirs["type"] == "string", where


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
