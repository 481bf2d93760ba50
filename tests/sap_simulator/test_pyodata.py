"""An independent client, pyodata, works against every service unmodified."""

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

import pyodata
import requests
from pyodata.exceptions import HttpError

from tests.sap_simulator.caller import PASSWORD, ROOT, Sap


def session() -> requests.Session:
    opened = requests.Session()
    opened.auth = ("CONCORD", PASSWORD)
    opened.params = {"sap-client": "100"}
    return opened


def client(sap: Sap, service: str, opened: requests.Session | None = None) -> Any:
    return pyodata.Client(f"{sap.url}{ROOT}/{service}", opened or session())


async def aside[T](work: Callable[[], T]) -> T:
    """pyodata blocks: it runs beside the loop that serves it."""
    return await asyncio.to_thread(work)


async def test_it_reads_the_metadata_and_every_readable_set_of_every_service(sap: Sap) -> None:
    await sap.account("C-1", exposure=5, prices={"A": 1})
    await sap.control("PUT", "stock/GB10/A", {"quantity": 1})

    def read(service: str) -> dict[str, int]:
        opened = client(sap, service)
        return {
            entity_set.name: len(getattr(opened.entity_sets, entity_set.name).get_entities().execute())
            for entity_set in opened.schema.entity_sets
            if entity_set.addressable
        }

    counts: dict[str, int] = {}
    for service in sap.simulator.services:
        counts |= await aside(lambda name=service: read(name))  # type: ignore[misc]
    assert counts["A_OperationalAcctgDocItemCube"] == 2
    assert counts["A_MatlStkInAcctMod"] == counts["A_SlsPrcgConditionRecord"] == counts["CreditManagementAccount"] == 1


async def test_it_filters_selects_counts_and_expands(sap: Sap) -> None:
    await sap.account("C-1", name="One")
    await sap.account("C-2", name="Two")

    def read() -> tuple[list[str], int, str]:
        customers = client(sap, "API_BUSINESS_PARTNER").entity_sets.A_Customer
        found = (
            customers.get_entities().filter("startswith(Customer,'C-')").select("Customer").order_by("Customer desc")
        )
        names = [row.Customer for row in found.execute()]
        counted = customers.get_entities().filter("startswith(Customer,'C-')").count().execute()
        expanded = customers.get_entity("C-1").expand("to_CustomerCompany").execute()
        return names, counted, expanded.to_CustomerCompany[0].CompanyCode

    assert await aside(read) == (["C-2", "C-1"], 2, "GB01")


async def test_it_creates_a_sales_order_with_its_items_and_changes_it(sap: Sap) -> None:
    await sap.account(prices={"A": "9.99"})

    def work() -> tuple[str, str, str, datetime.datetime]:
        opened = session()
        orders = client(sap, "API_SALES_ORDER_SRV", opened)
        token = opened.head(orders.url + "/", headers={"X-CSRF-Token": "Fetch"}).headers["X-CSRF-Token"]
        opened.headers["X-CSRF-Token"] = token
        created = (
            orders.entity_sets.A_SalesOrder.create_entity()
            .set(
                SalesOrderType="OR", SalesOrganization="GB01", DistributionChannel="10", OrganizationDivision="00",
                SoldToParty="C-1", to_Item=[{"SalesOrderItem": "10", "Material": "A", "RequestedQuantity": "10"}],
            )
            .execute()
        )  # fmt: skip
        opened.headers["If-Match"] = "*"
        orders.entity_sets.A_SalesOrder.update_entity(created.SalesOrder).set(PurchaseOrderByCustomer="PO-7").execute()
        changed = orders.entity_sets.A_SalesOrder.get_entity(created.SalesOrder).execute()
        return created.SalesOrder, created.TotalNetAmount, changed.PurchaseOrderByCustomer, changed.LastChangeDateTime

    number, net, reference, changed_at = await aside(work)
    assert (number, net, reference) == ("1", "99.90", "PO-7")
    assert changed_at.tzinfo is not None


async def test_it_calls_a_function_import(sap: Sap) -> None:
    await sap.control("PUT", "stock/GB10/A", {"quantity": 12})

    def work() -> str:
        function = client(sap, "API_PRODUCT_AVAILY_INFO_BASIC").functions.DetermineAvailabilityAt
        call = function.parameter("SupplyingPlant", "GB10").parameter("Material", "A").parameter("ATPCheckingRule", "A")
        asked_for = datetime.datetime(2027, 2, 1, tzinfo=datetime.UTC)
        record = call.parameter("RequestedUTCDateTime", asked_for).execute()
        return str(record["DetermineAvailabilityAt"]["AvailableQuantityInBaseUnit"])

    assert await aside(work) == "12"


async def test_it_understands_a_refusal(sap: Sap) -> None:
    def work() -> str:
        try:
            client(sap, "API_BUSINESS_PARTNER").entity_sets.A_Customer.get_entity("nobody").execute()
        except HttpError as refusal:
            return f"{refusal.response.status_code} {refusal}"
        return "found"

    assert (await aside(work)).startswith("404")
