"""The control surface of the simulated SAP system: what a check arranges before it looks at how the product behaves."""

import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web

from sandbox.kit import exact_json
from sandbox.sap import arrangements, ledger, state_view
from sandbox.sap.arrangements import legal_entity, read
from sandbox.sap.records import CreditAccount
from sandbox.sap.services.billing import bill, cancel, due_on
from sandbox.sap.world import World

if TYPE_CHECKING:
    from sandbox.sap.simulator import SapSimulator

_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def add_routes(app: web.Application, simulator: "SapSimulator") -> None:
    """Add the control routes."""
    world = simulator.world

    async def put_credit_account(request: web.Request) -> web.Response:
        account = request.match_info["account"]
        order = read(await request.read(), arrangements.CreditOrder)
        was_known = account in world.partners
        with world.state.atomic():
            credit = arrangements.set_credit_account(world, account, order)
        await _announce(simulator, credit)
        if not was_known:  # only now: whoever hears of it finds the account in the other systems
            world.emit("businesspartner.v1.BusinessPartner.Created.v1", {"BusinessPartner": account})
        return exact_json.response(_shown_account(world, credit))

    async def put_stock(request: web.Request) -> web.Response:
        order = read(await request.read(), arrangements.StockOrder)
        plant, material = request.match_info["plant"], request.match_info["material"]
        with world.state.atomic():
            shown = arrangements.set_stock(world, plant, material, order.quantity, order.unit)
        return exact_json.response(shown)

    async def move_goods(request: web.Request) -> web.Response:
        order = read(await request.read(), arrangements.MovementOrder)
        before = world.stock.get((order.plant, order.material))
        quantity = (before.quantity if before else Decimal(0)) + order.quantity
        with world.state.atomic():
            shown = arrangements.set_stock(world, order.plant, order.material, quantity, None)
        return exact_json.response(shown)

    async def put_condition(request: web.Request) -> web.Response:
        order = read(await request.read(), arrangements.ConditionOrder)
        account, material = request.match_info["account"], request.match_info["material"]
        with world.state.atomic():
            condition = arrangements.set_condition(world, "" if account == "*" else account, material, order)
        return exact_json.response({"record": condition.record, "price": state_view.plain(condition.price)})

    async def pay(request: web.Request) -> web.Response:
        order = read(await request.read(), arrangements.PaymentOrder)
        entity = arrangements.entity_of(world, order.account, order.legal_entity)
        currency = order.currency or arrangements.currency_of(world, order.account, entity)
        arrangements.check_amount(order.amount, currency, "amount")
        if order.amount <= 0:
            raise ValueError("amount: greater than zero")
        with world.state.atomic():
            document = ledger.pay(world, order.account, entity.code, order.amount, currency)
        return exact_json.response(state_view.document(world, document))

    async def put_period(request: web.Request) -> web.Response:
        order = read(await request.read(), arrangements.PeriodOrder)
        code, month = legal_entity(request.match_info["company_code"]).code, request.match_info["month"]
        if not _MONTH.fullmatch(month):
            raise ValueError("period: yyyy-mm")
        world.periods.put((code, month), order.open)
        return exact_json.response({"company_code": code, "period": month, "open": order.open})

    async def put_lag(request: web.Request) -> web.Response:
        order = read(await request.read(), arrangements.LagOrder)
        if order.seconds < 0:
            raise ValueError("seconds: not negative")
        world.lag_seconds = order.seconds
        return exact_json.response({"seconds": order.seconds})

    async def bill_order(request: web.Request) -> web.Response:
        order = world.sales_orders.get(request.match_info["order"])
        if order is None:
            raise web.HTTPNotFound(text="no such sales order")
        with world.state.atomic():
            document = bill(world, order)
        return exact_json.response(state_view.document(world, document))

    async def bill_due(_: web.Request) -> web.Response:
        """What a billing run does: each open order whose billing date has come; what SAP refuses is named."""
        billed: list[dict[str, object]] = []
        refused: list[dict[str, str]] = []
        for order in list(world.sales_orders.values()):
            day = due_on(order)
            if not order["_open"] or (day is not None and day > world.today(order["SalesOrganization"])):
                continue
            try:
                with world.state.atomic():
                    billed.append(state_view.document(world, bill(world, order)))
            except ValueError as refusal:
                refused.append({"sales_order": order["SalesOrder"], "reason": str(refusal)})
        return exact_json.response({"billed": billed, "refused": refused})

    async def cancel_billing(request: web.Request) -> web.Response:
        billing = world.billing_documents.get(request.match_info["billing"])
        if billing is None:
            raise web.HTTPNotFound(text="no such billing document")
        with world.state.atomic():
            document = cancel(world, billing)
        return exact_json.response(state_view.document(world, document))

    async def put_repeatability(request: web.Request) -> web.Response:
        order = read(await request.read(), arrangements.RepeatabilityOrder)
        simulator.repeatability.supported = order.supported
        return exact_json.response({"supported": order.supported})

    async def end_sessions(_: web.Request) -> web.Response:
        return exact_json.response({"ended": simulator.sessions.end_all()})

    routes: tuple[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]], ...] = (
        ("PUT", "credit-accounts/{account}", put_credit_account),
        ("PUT", "stock/{plant}/{material}", put_stock),
        ("POST", "goods-movements", move_goods),
        ("PUT", "conditions/{account}/{material}", put_condition),
        ("POST", "payments", pay),
        ("PUT", "periods/{company_code}/{month}", put_period),
        ("PUT", "exposure-lag", put_lag),
        ("POST", "sales-orders/{order}/bill", bill_order),
        ("POST", "billing-run", bill_due),
        ("POST", "billing-documents/{billing}/cancel", cancel_billing),
        ("PUT", "repeatability", put_repeatability),
        ("POST", "sessions/end", end_sessions),
    )
    for method, path, handler in routes:
        app.router.add_route(method, f"/__sim/{path}", handler)


async def _announce(simulator: "SapSimulator", credit: CreditAccount) -> None:
    """Create the customer in the neighbouring systems, once; what changes later is for the product to carry there.

    A neighbour that refuses makes this a 502, not a silent half-success; the next call tries again.
    """
    world, key = simulator.world, (credit.account, credit.legal_entity)
    if key in world.announced or simulator.neighbours is None:
        return
    partner = world.partners.get(credit.account) or {}
    customer = {
        "name": partner.get("BusinessPartnerFullName"), "legalEntity": credit.legal_entity, "currency": credit.currency,
        "limit": credit.limit,
    }  # fmt: skip
    account = {**customer, "blocked": credit.blocked, "riskClass": credit.risk_class}
    neighbours = (("commerce_url", "customers", customer), ("dataverse_url", "accounts", account))
    for option, path, body in neighbours:
        url = simulator.settings.options.get(option)
        if not url:
            continue
        target = f"{url.rstrip('/')}/__sim/{path}/{credit.account}"
        headers = {"Content-Type": "application/json"}
        try:
            async with simulator.neighbours.put(target, data=exact_json.dumps(body), headers=headers) as answer:
                if answer.status >= 400:
                    raise web.HTTPBadGateway(text=f"{target} answered {answer.status}: {await answer.text()}")
        except (aiohttp.ClientError, TimeoutError) as fault:
            raise web.HTTPBadGateway(text=f"{target} did not answer: {fault!r}") from fault
    world.announced.put(key, True)


def _shown_account(world: World, credit: CreditAccount) -> dict[str, object]:
    exposure = world.exposure(credit.account, credit.segment, credit.currency)
    return {
        "account": credit.account,
        "legalEntity": credit.legal_entity,
        "segment": credit.segment,
        "limit": state_view.money(credit.limit, credit.currency),
        "currency": credit.currency,
        "exposure": state_view.money(exposure, credit.currency),
        "blocked": credit.blocked,
        "riskClass": credit.risk_class,
    }
