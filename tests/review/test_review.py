"""The review finds gaps of ownership, policies that disagree, and metadata that no longer bears out what is used."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.kit.simulator import Settings
from sandbox.sap.metadata import edmx
from sandbox.sap.simulator import SapSimulator
from shared.authority.ownership import Authority
from shared.authority.policy import load_policy
from shared.mapping.engine import Field, ObjectMap, compiled
from shared.mapping.objects import OBJECTS
from shared.review.drift import ServiceUse, mapped_uses, read_uses, review_drift
from shared.review.metadata import Service, read_metadata
from shared.review.ownership import review_ownership
from shared.review.policies import review_policies

ROOT = Path(__file__).resolve().parents[2]
SERVICES = SapSimulator(Settings(), password="not-a-secret").services
THING = compiled(
    "thing",
    (Field("name", dataverse="name", commerce="Name"), Field("size", dataverse="size", commerce="Size")),
    dataverse="things",
    commerce="Things",
)


def governed(**fields: Mapping[str, object]) -> Authority:
    return Authority.model_validate(
        {
            "restores": {"most": 3, "window_minutes": 60},
            "objects": {"thing": dict(fields)},
        }
    )


OWNED = {"owner": "commerce", "readers": ["dataverse"], "on_conflict": "restore"}


def whats(authority: Authority, objects: Mapping[str, ObjectMap]) -> list[str]:
    return [finding.what for finding in review_ownership(authority, objects)]


def test_what_ships_has_no_gap_and_no_disagreement() -> None:
    policy = load_policy()
    assert review_ownership(policy.authority, OBJECTS) == []
    assert review_policies(policy) == []


def test_a_mapped_field_without_an_owner_and_an_owned_field_without_a_mapping_are_errors() -> None:
    assert whats(governed(name=OWNED, colour=OWNED), {"thing": THING}) == [
        "is mapped but has no owner",
        "is owned but not mapped",
    ]


def test_a_reader_without_a_name_for_the_field_is_an_error() -> None:
    table = compiled("thing", (Field("name", commerce="Name"),), dataverse="things", commerce="Things")
    assert whats(governed(name=OWNED), {"thing": table}) == ["dataverse reads it but has no name for it"]


def test_a_name_in_a_system_that_neither_owns_nor_reads_is_a_warning() -> None:
    found = review_ownership(governed(name=OWNED, size={**OWNED, "readers": []}), {"thing": THING})
    assert [(one.level, one.where) for one in found] == [("warning", "thing.size")]


def test_an_object_known_to_one_side_alone_is_an_error() -> None:
    assert whats(governed(name=OWNED), {}) == ["is governed but no mapping knows it"]


def test_two_owners_of_one_remote_property_would_never_come_to_rest() -> None:
    other = compiled(
        "other", (Field("title", dataverse="name", commerce="Title"),), dataverse="things", commerce="Others"
    )
    authority = Authority.model_validate(
        {
            "restores": {"most": 3, "window_minutes": 60},
            "objects": {
                "thing": {"name": OWNED, "size": OWNED},
                "other": {"title": {"owner": "dataverse", "readers": ["commerce"], "on_conflict": "restore"}},
            },
        }
    )
    [found] = review_ownership(authority, {"thing": THING, "other": other})
    assert found.where == "dataverse things.name" and "commerce, dataverse" in found.what


def test_two_exceptions_that_fit_the_same_record_are_named() -> None:
    rule = {**OWNED, "except": [{"stage": "posted", "owner": "sap"}, {"legal_entity": "GB01", "owner": "dataverse"}]}
    assert "two exceptions fit the same record" in whats(governed(name=rule, size=OWNED), {"thing": THING})[0]


def test_a_legal_entity_with_two_currencies_is_an_error() -> None:
    policy = load_policy()
    entity = policy.credit.legal_entities["GB01"].model_copy(update={"currency": "EUR"})
    changed = policy.credit.model_copy(update={"legal_entities": {**policy.credit.legal_entities, "GB01": entity}})
    [found] = review_policies(replace(policy, credit=changed))
    assert (found.level, found.where) == ("error", "GB01.currency")


@pytest.fixture
def described(tmp_path: Path) -> dict[str, Service]:
    """The metadata of the simulated SAP, as an upgrade team would export it."""
    for name, service in SERVICES.items():
        (tmp_path / f"{name}.edmx").write_bytes(edmx(service))
    services, findings = read_metadata(tmp_path)
    assert findings == []
    return services


def test_everything_used_of_sap_is_in_its_metadata_with_its_kind(described: dict[str, Service]) -> None:
    assert review_drift(read_uses(), described) == []


def test_a_property_that_went_or_changed_its_kind_is_an_error(described: dict[str, Service]) -> None:
    service = described["API_MATERIAL_STOCK_SRV"]
    stock = dict(service.sets["A_MatlStkInAcctMod"]) | {"Material": "number"}
    del stock["Plant"]
    drifted = {**described, service.name: replace(service, sets={**service.sets, "A_MatlStkInAcctMod": stock})}
    found = review_drift(read_uses(), drifted)
    assert [(one.level, one.where.rpartition(".")[2]) for one in found] == [("error", "Material"), ("error", "Plant")]
    assert "inventory_push" in found[1].what


def test_a_service_without_a_document_is_a_warning_and_an_entity_set_that_went_an_error() -> None:
    use = {"S": ServiceUse(flows=("price_push",), sets={"A": {"x": "text"}})}
    assert [one.level for one in review_drift(use, {})] == ["warning"]
    assert [one.level for one in review_drift(use, {"S": Service("S", "s.edmx", {})})] == ["error"]


def test_a_document_that_cannot_be_read_is_named_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.edmx").write_text("<edmx:Edmx")
    (tmp_path / "entities.edmx").write_text('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "STOCK.edmx").write_bytes(edmx(SERVICES["API_MATERIAL_STOCK_SRV"]))
    services, findings = read_metadata(tmp_path)
    assert [one.where for one in findings] == ["broken.edmx", "entities.edmx", "other.json"]
    assert list(services) == ["API_MATERIAL_STOCK_SRV"]


def test_original_metadata_bears_out_what_is_used() -> None:
    folder = os.environ.get("CONCORD_TEST_DATA")
    if not folder:
        pytest.skip("CONCORD_TEST_DATA is not set: no original metadata to compare with")
    services, unreadable = read_metadata(Path(folder) / "sap")
    assert unreadable == []
    assert {"API_BUSINESS_PARTNER", "API_SALES_ORDER_SRV", "API_MATERIAL_STOCK_SRV"} <= services.keys()
    findings = review_drift(read_uses(), services)
    assert [one for one in findings if one.level == "error"] == []


def selected_by(path: Path) -> Iterator[str]:
    """Every property in a list of names, as `$select` takes them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and re.fullmatch(r"\w+(,\w+)+,?", value):
            yield from filter(None, value.split(","))


def test_every_property_that_the_clients_select_is_declared_as_used() -> None:
    declared = {name for use in read_uses().values() for names in use.sets.values() for name in names}
    clients = sorted((ROOT / "shared/clients").glob("sap_*.py"))
    assert {name for path in clients for name in selected_by(path)} - declared == set()


def test_the_mapping_tables_say_what_is_used_of_dataverse() -> None:
    accounts = mapped_uses(OBJECTS)["Microsoft.Dynamics.CRM"].sets["accounts"]
    assert accounts["creditlimit"] == "number" and accounts["creditonhold"] == "flag" and accounts["name"] == "text"


def test_the_command_ends_with_one_where_an_error_is_found(tmp_path: Path) -> None:
    (tmp_path / "broken.edmx").write_text("<edmx:Edmx")
    command = [sys.executable, "-m", "shared.review"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    reviewed = subprocess.run([*command, "--metadata", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert reviewed.returncode == 1 and "broken.edmx: cannot be read" in reviewed.stdout
