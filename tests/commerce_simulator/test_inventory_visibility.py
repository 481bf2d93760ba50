"""Inventory Visibility: bought tokens, figures that never go back, ids that count once, and one availability."""

from decimal import Decimal
from typing import Any

import pytest

from tests.commerce_simulator.shop import ENTRA, Shop
from tests.kit.counter import Clock

PLACE = {"siteId": "GB10", "locationId": "GB10"}


def _record(record_id: str = "1", **changes: object) -> dict[str, Any]:
    return {"id": record_id, "organizationId": "GB01", "productId": "A", "dimensions": PLACE} | changes


def _figure(record_id: str, quantity: object, at: str = "2026-11-24T10:00:00Z") -> dict[str, Any]:
    return _record(record_id, quantities={"sap": {"unrestricted": quantity}}, modifiedDateTimeUTC=at)


def _change(record_id: str, quantity: int) -> dict[str, Any]:
    return _record(record_id, dimensionDataSource="pos", quantities={"pos": {"inbound": quantity}})


async def _available(shop: Shop, **more: object) -> Any:
    filters = {"organizationId": ["GB01"], "productId": ["A"], "siteId": ["GB10"], "locationId": ["GB10"]}
    reply = await shop.inventory("onhand/indexquery", {"filters": filters, "groupByValues": [], **more})
    assert reply.status == 200, reply.body
    return reply.json


async def _on_hand(shop: Shop) -> Any:
    return (await _available(shop))[0]["quantities"]["iv"]["onhand"]


async def test_the_security_service_sends_the_caller_to_its_region(shop: Shop) -> None:
    async with shop.session.post(f"{shop.url}/token", data=b"{}", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (307, f"{shop.url}/region/token")


async def test_the_exchanged_token_opens_its_environment_and_no_other(shop: Shop, clock: Clock) -> None:
    bought = (await shop.exchange()).json
    assert (bought["token_type"], bought["expires_in"]) == ("bearer", 3600)
    assert (await shop.inventory("onhand/bulk", [_change("1", 1)])).status == 200
    assert (await shop.inventory("onhand/bulk", [_change("2", 1)], environment="e-2")).status == 401
    clock.now += 3600
    assert (await shop.inventory("onhand/bulk", [_change("3", 1)])).status == 401


async def test_an_entra_token_alone_opens_nothing(shop: Shop) -> None:
    shop.inventory_token = shop.token(ENTRA)
    assert (await shop.inventory("onhand/bulk", [_change("1", 1)])).status == 401
    assert (await shop.exchange(client_assertion=shop.token("https://elsewhere"))).status == 401
    assert (await shop.exchange(context_type="other")).status == 400


async def test_an_absolute_figure_replaces_and_an_older_one_changes_nothing(shop: Shop) -> None:
    figures = [
        _figure("1", 10, "2026-11-24T10:00:00Z"), _figure("2", 7, "2026-11-24T12:00:00Z"),
        _figure("3", 99, "2026-11-24T11:00:00Z"),
    ]  # fmt: skip
    for figure in figures:
        assert (await shop.inventory("setonhand/sap/bulk", [figure])).json[0]["processingStatus"] == "success"
    assert await _on_hand(shop) == 7


async def test_the_same_id_counts_once(shop: Shop) -> None:
    for _ in range(2):
        await shop.inventory("onhand", _change("1", 5))
        await shop.inventory("setonhand/sap/bulk", [_figure("2", 3)])
    await shop.inventory("onhand/bulk", [_change("1", 5), _change("3", 2)])
    assert await _on_hand(shop) == 10


async def test_quantities_keep_every_digit(shop: Shop) -> None:
    await shop.inventory("setonhand/sap/bulk", [_figure("1", Decimal("0.123456789012345678"))])
    assert await _on_hand(shop) == Decimal("0.123456789012345678")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, "id"),
        ({"productId": None}, "productId"),
        ({"dimensions": {"siteId": "GB10"}}, "locationId"),
        ({"dimensions": {**PLACE, "color": "red"}}, "color"),
        ({"dimensions": {**PLACE, "colorId": "red"}}, "colorId"),
        ({"quantities": {"sap": {"unrestricted": Decimal("1e999999999")}}}, "unrestricted"),
        ({"quantities": {}}, "quantities"),
        ({"quantities": {"sap": {"unrestricted": "5"}}}, "unrestricted"),
        ({"quantities": {"pos": {"inbound": 5}}}, "quantities"),
        ({"modifiedDateTimeUTC": "yesterday"}, "modifiedDateTimeUTC"),
        ({"modifiedDateTimeUtc": "2026-11-24T10:00:00Z"}, "modifiedDateTimeUtc"),
    ],
)
async def test_one_bad_record_refuses_the_whole_call_by_name(shop: Shop, change: dict[str, object], named: str) -> None:
    refused = await shop.inventory("setonhand/sap/bulk", [_figure("1", 5), _figure("2", 6) | change])
    assert refused.status == 400
    assert named in refused.json["error"]["message"]
    assert await _available(shop) == []


async def test_dimension_names_may_be_written_in_any_case(shop: Shop) -> None:
    place = {"SiteId": "GB10", "LocationId": "GB10"}
    await shop.inventory("setonhand/sap/bulk", [_figure("1", 5) | {"dimensions": place}])
    assert await _on_hand(shop) == 5


async def test_a_bulk_call_carries_at_most_512_records(shop: Shop) -> None:
    records = [_change(str(number), 1) for number in range(513)]
    assert (await shop.inventory("onhand/bulk", records)).status == 400
    assert (await shop.inventory("onhand/bulk", records[:512])).status == 200


async def test_a_reservation_takes_from_what_is_promised_and_can_be_given_back(shop: Shop) -> None:
    await shop.inventory("setonhand/sap/bulk", [_figure("1", 10)])
    body = _record("r-1", quantity=4, modifier="softReservOrdered", quantityDataSource="iv", ifCheckAvailForReserv=True)
    first, again = [(await shop.inventory("onhand/reserve", body)).json for _ in range(2)]
    assert first == again
    assert await _promised(shop) == 6
    more = await shop.inventory("onhand/reserve", _record("r-2", quantity=7))
    assert (more.status, more.json["processingStatus"]) == (400, "failed")
    back = {"id": "u-1", "organizationId": "GB01", "reservationId": first["reservationId"], "dimensions": PLACE}
    assert (await shop.inventory("onhand/unreserve", back | {"OffsetQty": 1})).json["processingStatus"] == "success"
    beyond = (await shop.inventory("onhand/unreserve", back | {"id": "u-2", "OffsetQty": 5})).json
    assert (beyond["processingStatus"], beyond["totalInvalidOffsetQtyByReservId"]) == ("partialSuccess", 2)
    assert await _promised(shop) == 10


@pytest.mark.parametrize("quantity", [0, -5])
async def test_nothing_and_less_than_nothing_cannot_be_reserved(shop: Shop, quantity: int) -> None:
    await shop.inventory("setonhand/sap/bulk", [_figure("1", 10)])
    assert (await shop.inventory("onhand/reserve", _record("r-1", quantity=quantity))).status == 400
    assert await _promised(shop) == 10


async def test_the_id_of_a_figure_is_not_the_id_of_a_reservation_too(shop: Shop) -> None:
    await shop.inventory("setonhand/sap/bulk", [_figure("1", 10)])
    assert (await shop.inventory("onhand/reserve", _record("1", quantity=1))).status == 400


async def _promised(shop: Shop) -> Any:
    rows = await _available(shop, QueryATP=True, ATPFromDate="2026-11-24", ATPToDate="2026-11-24")
    return rows[0]["atpQuantities"]["2026-11-24"]["iv"]["availabletopromise"]


async def test_scheduled_changes_count_from_their_day_on(shop: Shop) -> None:
    await shop.inventory("setonhand/sap/bulk", [_figure("1", 10)])
    planned = _record(
        "s-1", quantitiesByDate={"2026-11-25": {"pos": {"inbound": 5}}, "2026-11-26": {"pos": {"outbound": -3}}}
    )
    for _ in range(2):
        assert (await shop.inventory("onhand/changeschedule", planned)).status == 200
    rows = await _available(shop, QueryATP=True, ATPFromDate="2026-11-24", ATPToDate="2026-11-26")
    promised = [day["iv"]["availabletopromise"] for _, day in sorted(rows[0]["atpQuantities"].items())]
    assert promised == [10, 15, 12]


@pytest.mark.parametrize(
    ("filters", "query"),
    [
        ({"siteId": []}, {}),
        ({"organizationId": ["GB01", "JP01"]}, {}),
        ({"productId": [str(number) for number in range(5001)]}, {}),
        ({"siteId": [str(number) for number in range(11)], "locationId": [str(number) for number in range(10)]}, {}),
        ({"warehouse": ["x"]}, {}),
        ({}, {"QueryATP": True, "ATPFromDate": "2026-11-24"}),
        ({}, {"QueryATP": True, "ATPFromDate": "2026-01-01", "ATPToDate": "2026-07-01"}),
        ({}, {"queryATP": True}),
    ],
)
async def test_a_query_beyond_the_limits_is_refused(
    shop: Shop, filters: dict[str, object], query: dict[str, object]
) -> None:
    known = {"organizationId": ["GB01"], "productId": ["A"], "siteId": ["GB10"], "locationId": ["GB10"]}
    refused = await shop.inventory("onhand/indexquery", {"filters": known | filters, **query})
    assert refused.status == 400


async def test_no_products_named_means_all_of_them(shop: Shop) -> None:
    await shop.inventory("setonhand/sap/bulk", [_figure("1", 10), _figure("2", 0) | {"productId": "B"}])
    filters = {"organizationId": ["GB01"], "productId": [], "siteId": ["GB10"], "locationId": ["GB10"]}
    rows = (await shop.inventory("onhand/indexquery", {"filters": filters})).json
    assert sorted(row["productId"] for row in rows) == ["A", "B"]


async def test_state_shows_each_figure_with_its_place(shop: Shop) -> None:
    await shop.inventory("setonhand/sap/bulk", [_figure("1", 10)])
    figure = (await shop.control("GET", "state"))["on_hand"][0]
    assert (figure["product"], figure["site"], figure["quantity"]) == ("A", "GB10", 10)
