"""Metadata: CSDL that a parser takes, definitions as tools ask for them, alternate keys that can be added."""

from typing import Any
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from tests.dataverse_simulator.organization import Organization

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"


async def _entity(org: Organization, name: str) -> Element:
    document = fromstring((await org.get("$metadata")).body)
    return next(entity for entity in document.iter(f"{EDM}EntityType") if entity.get("Name") == name)


async def test_metadata_names_properties_as_the_rows_do(org: Organization) -> None:
    await org.account()
    declared = {prop.get("Name") for prop in (await _entity(org, "account")).iter(f"{EDM}Property")}
    shown = {name for name in (await org.get("accounts")).rows[0] if not name.startswith("@")}
    assert declared == shown


async def test_metadata_tells_types_lookups_and_keys(org: Organization) -> None:
    order = await _entity(org, "salesorder")
    kinds = {prop.get("Name"): prop.get("Type") for prop in order.iter(f"{EDM}Property")}
    assert (kinds["totalamount"], kinds["submitdate"], kinds["_customerid_value"]) == (
        "Edm.Decimal", "Edm.Date", "Edm.Guid",
    )  # fmt: skip
    lookups = {prop.get("Name"): prop.get("Type") for prop in order.iter(f"{EDM}NavigationProperty")}
    assert lookups["customerid_account"] == "mscrm.account"
    assert any(value.get("PropertyPath") == "concord_orderkey" for value in order.iter(f"{EDM}PropertyValue"))


async def test_every_binding_leads_to_a_set(org: Organization) -> None:
    document = fromstring((await org.get("$metadata")).body)
    sets = {each.get("Name") for each in document.iter(f"{EDM}EntitySet")}
    assert {binding.get("Target") for binding in document.iter(f"{EDM}NavigationPropertyBinding")} <= sets
    served: Any = (await org.get("")).rows
    assert {row["url"] for row in served} == sets


async def test_definitions_are_found_by_logical_name(org: Organization) -> None:
    query = "$select=EntitySetName,PrimaryIdAttribute&$filter=LogicalName eq 'salesorder'"
    row = (await org.get(f"EntityDefinitions?{query}")).rows[0]
    assert (row["EntitySetName"], row["PrimaryIdAttribute"]) == ("salesorders", "salesorderid")
    options = "Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName"
    picklists = (await org.get(f"EntityDefinitions(LogicalName='account')/{options}")).rows
    assert {row["LogicalName"] for row in picklists} == {"customertypecode", "paymenttermscode"}
    assert (await org.get("EntityDefinitions(LogicalName='acount')")).status == 404


async def test_an_alternate_key_can_be_defined_used_and_dropped(org: Organization) -> None:
    await org.account(name="Acme")
    keys = "EntityDefinitions(LogicalName='account')/Keys"
    body = {"SchemaName": "own_name", "KeyAttributes": ["name"]}
    assert (await org.call("POST", keys, body)).status == 204
    assert (await org.get("accounts(name='acme')")).json["accountnumber"] == "C-1"
    assert (await org.call("POST", keys, body)).status == 400
    found = (await org.get(keys)).rows
    own = next(key for key in found if key["SchemaName"] == "own_name")
    assert own["EntityKeyIndexStatus"] == "Active"
    await org.call("DELETE", f"EntityDefinitions(LogicalName='account')/Keys({own['MetadataId']})")
    assert (await org.get("accounts(name='acme')")).status == 400


async def test_a_key_over_values_that_are_not_unique_is_refused(org: Organization) -> None:
    await org.account("C-1", telephone1="1")
    await org.account("C-2", telephone1="1")
    body = {"SchemaName": "own_phone", "KeyAttributes": ["telephone1"]}
    keys = "EntityDefinitions(LogicalName='account')/Keys"
    assert (await org.call("POST", keys, body)).status == 412
    assert (await org.get("accounts(telephone1='1')")).status == 400
