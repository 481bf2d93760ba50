"""The control surface of the simulated SAP system: what a check arranges before it looks at how the product behaves."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
from aiohttp import web

from sandbox.kit import exact_json
from sandbox.kit.entities import LegalEntity, legal_entities
from sandbox.sap import ledger, state_view
from sandbox.sap.configuration import BANK, BASE_UNIT, RECEIVABLES, REVENUE, decimals, plants
from sandbox.sap.records import Condition, CreditAccount, Document, Draft, Stock
from sandbox.sap.services.billing import bill
from sandbox.sap.world import World, forever

if TYPE_CHECKING:
    from sandbox.sap.simulator import SapSimulator

_MONTH: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


class _CreditOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """PUT /__sim/credit-accounts/{account}. What is left out keeps its value, or its default on a new account."""

    legal_entity: str | None = None
    limit: Decimal | None = None
    currency: str | None = None
    exposure: Decimal | None = None
    blocked: bool | None = None
    risk_class: str | None = None
    prices: dict[str, Decimal] = {}
    overdue_days: int | None = None
    name: str | None = None
    critical: bool | None = None
    posting_blocked: bool | None = None
    order_blocked: bool | None = None


class _StockOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quantity: Decimal
    unit: str | None = None


class _MovementOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plant: str
    material: str
    quantity: Decimal
    text: str = ""


class _Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}):
    start: Decimal
    price: Decimal


class _ConditionOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    price: Decimal
    currency: str | None = None
    start: date | None = None
    end: date | None = None
    per: int = 1
    unit: str | None = None
    legalEntity: str | None = None
    scales: list[_Scale] = []


class _PaymentOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    account: str
    amount: Decimal
    legal_entity: str | None = None
    currency: str | None = None


class _PeriodOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    open: bool


class _LagOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seconds: float


class _ForgedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """POST /__sim/documents: a document that nobody posted through the front door."""

    legal_entity: str
    gross: Decimal
    order: str = ""
    reference: str = ""
    kind: str = "invoice"
    customer: str | None = None
    currency: str | None = None
    posting_date: date | None = None


class _DocumentChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """PATCH /__sim/documents/{id}. `gross` moves the settlement and the first other line alike."""

    order: str | None = None
    reference: str | None = None
    kind: str | None = None
    posting_date: date | None = None
    reversed: bool | None = None
    gross: Decimal | None = None


def add_routes(app: web.Application, simulator: "SapSimulator") -> None:
    """Add the control routes."""
    world = simulator.world

    async def put_credit_account(request: web.Request) -> web.Response:
        account = request.match_info["account"]
        order = _read(await request.read(), _CreditOrder)
        was_known = account in world.partners
        with world.state.atomic():
            credit = _set_credit_account(world, account, order)
        await _announce(simulator, credit)
        if not was_known:  # only now: whoever hears of it finds the account in the other systems
            world.emit("businesspartner.v1.BusinessPartner.Created.v1", {"BusinessPartner": account})
        return exact_json.response(_shown_account(world, credit))

    async def put_stock(request: web.Request) -> web.Response:
        order = _read(await request.read(), _StockOrder)
        plant, material = request.match_info["plant"], request.match_info["material"]
        with world.state.atomic():
            shown = _set_stock(world, plant, material, order.quantity, order.unit)
        return exact_json.response(shown)

    async def move_goods(request: web.Request) -> web.Response:
        order = _read(await request.read(), _MovementOrder)
        before = world.stock.get((order.plant, order.material))
        quantity = (before.quantity if before else Decimal(0)) + order.quantity
        with world.state.atomic():
            shown = _set_stock(world, order.plant, order.material, quantity, None)
        return exact_json.response(shown)

    async def put_condition(request: web.Request) -> web.Response:
        order = _read(await request.read(), _ConditionOrder)
        account, material = request.match_info["account"], request.match_info["material"]
        with world.state.atomic():
            condition = _set_condition(world, "" if account == "*" else account, material, order)
        return exact_json.response({"record": condition.record, "price": state_view.plain(condition.price)})

    async def pay(request: web.Request) -> web.Response:
        order = _read(await request.read(), _PaymentOrder)
        entity = _entity_of(world, order.account, order.legal_entity)
        currency = order.currency or _currency_of(world, order.account, entity)
        _check_amount(order.amount, currency, "amount")
        if order.amount <= 0:
            raise ValueError("amount: greater than zero")
        with world.state.atomic():
            document = ledger.pay(world, order.account, entity.code, order.amount, currency)
        return exact_json.response(state_view.document(world, document))

    async def put_period(request: web.Request) -> web.Response:
        order = _read(await request.read(), _PeriodOrder)
        code, month = _entity(request.match_info["company_code"]).code, request.match_info["month"]
        if not _MONTH.fullmatch(month):
            raise ValueError("period: yyyy-mm")
        world.periods.put((code, month), order.open)
        return exact_json.response({"company_code": code, "period": month, "open": order.open})

    async def put_lag(request: web.Request) -> web.Response:
        order = _read(await request.read(), _LagOrder)
        if order.seconds < 0:
            raise ValueError("seconds: not negative")
        world.lag_seconds = order.seconds
        return exact_json.response({"seconds": order.seconds})

    async def forge_document(request: web.Request) -> web.Response:
        order = _read(await request.read(), _ForgedDocument)
        with world.state.atomic():
            document = _forge(world, order)
        return exact_json.response(state_view.document(world, document))

    async def change_document(request: web.Request) -> web.Response:
        order = _read(await request.read(), _DocumentChange)
        with world.state.atomic():
            document = _change(world, _document(world, request.match_info["id"]), order)
        return exact_json.response(state_view.document(world, document))

    async def delete_document(request: web.Request) -> web.Response:
        document = _document(world, request.match_info["id"])
        shown = state_view.document(world, document)
        ledger.remove(world, document)
        return exact_json.response(shown)

    async def bill_order(request: web.Request) -> web.Response:
        order = world.sales_orders.get(request.match_info["order"])
        if order is None:
            raise web.HTTPNotFound(text="no such sales order")
        with world.state.atomic():
            document = bill(world, order)
        return exact_json.response(state_view.document(world, document))

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
        ("POST", "documents", forge_document),
        ("PATCH", "documents/{id}", change_document),
        ("DELETE", "documents/{id}", delete_document),
        ("POST", "sales-orders/{order}/bill", bill_order),
        ("POST", "sessions/end", end_sessions),
    )
    for method, path, handler in routes:
        app.router.add_route(method, f"/__sim/{path}", handler)


def _read[T](body: bytes, kind: type[T]) -> T:
    """Decode a control body, numbers exactly, also where they come as text. Raises ValueError naming the field."""
    return msgspec.convert(exact_json.loads_object(body), kind, strict=False)


def _entity(code: str) -> LegalEntity:
    entity = legal_entities().get(code)
    if entity is None:
        raise ValueError(f"legalEntity: one of {', '.join(legal_entities())} was expected, not {code!r}")
    return entity


def _entity_of(world: World, account: str, code: str | None) -> LegalEntity:
    """The legal entity given, or that of the account's first credit account."""
    if code is not None:
        return _entity(code)
    credit = next(iter(world.credit_accounts.find("account", account)), None)
    if credit is None:
        raise ValueError(f"account: {account!r} has no credit account; give legalEntity")
    return _entity(credit.legal_entity)


def _currency_of(world: World, account: str, entity: LegalEntity) -> str:
    credit = world.credit_accounts.get((account, entity.credit_segment))
    return credit.currency if credit else entity.currency


def _check_amount(amount: Decimal, currency: str, name: str) -> None:
    allowed = decimals(currency)
    if allowed is None:
        raise ValueError(f"currency: {currency!r} is not known")
    if not amount.is_finite() or -int(amount.normalize().as_tuple().exponent) > allowed:
        raise ValueError(f"{name}: {amount} has more decimals than {currency}")


def _set_credit_account(world: World, account: str, order: _CreditOrder) -> CreditAccount:
    if not 1 <= len(account) <= 10:
        raise ValueError("account: 1 to 10 characters")
    known = next(iter(world.credit_accounts.find("account", account)), None)
    entity = _entity(order.legal_entity or (known.legal_entity if known else "GB01"))
    before = world.credit_accounts.get((account, entity.credit_segment))
    currency = order.currency or (before.currency if before else entity.currency)
    limit = order.limit if order.limit is not None else (before.limit if before else Decimal(0))
    _check_amount(limit, currency, "limit")
    for material, price in order.prices.items():
        _set_condition(world, account, material, _ConditionOrder(price, currency, legalEntity=entity.code))
    was_known = account in world.partners
    world.create_customer(account, entity, order.name or f"Customer {account}")
    _set_blocks(world, account, order)
    credit = CreditAccount(
        account=account,
        segment=entity.credit_segment,
        legal_entity=entity.code,
        limit=limit,
        currency=currency,
        blocked=_or(order.blocked, before.blocked if before else None, default=False),
        block_reason="01" if order.blocked else "",
        risk_class=order.risk_class or (before.risk_class if before else "B"),
        critical=_or(order.critical, before.critical if before else None, default=False),
        valid_until=before.valid_until if before else forever(),
        changed_at=world.stamp(),
    )
    world.credit_accounts.put((account, entity.credit_segment), credit)
    if order.exposure is not None or order.overdue_days is not None:
        opening = order.exposure if order.exposure is not None else _opening(world, account, entity.code)
        _check_amount(opening, currency, "exposure")
        ledger.set_opening(world, account, entity.code, opening, currency, order.overdue_days or 0)
    if was_known and (order.name or order.posting_blocked is not None or order.order_blocked is not None):
        world.partner_changed(account)
    return credit


def _or(given: bool | None, before: bool | None, *, default: bool) -> bool:
    if given is not None:
        return given
    return default if before is None else before


def _opening(world: World, account: str, company_code: str) -> Decimal:
    lines = world.lines.find("customer", account)
    return sum(
        (
            line.amount
            for line in lines
            if line.document.reference == ledger.OPENING and line.document.company_code == company_code
        ),
        Decimal(0),
    )


def _set_blocks(world: World, account: str, order: _CreditOrder) -> None:
    row = world.customers.get(account)
    assert row is not None
    changes: dict[str, str | bool] = {}
    if order.posting_blocked is not None:
        changes["PostingIsBlocked"] = order.posting_blocked
    if order.order_blocked is not None:
        changes["OrderIsBlockedForCustomer"] = "01" if order.order_blocked else ""
    if order.name is not None:
        changes |= {"CustomerName": order.name, "CustomerFullName": order.name}
        partner = world.partners.get(account) or {}
        names = {"OrganizationBPName1": order.name[:40], "BusinessPartnerFullName": order.name}
        world.partners.put(account, {**partner, **names, "BusinessPartnerName": order.name})
    if changes:
        world.customers.put(account, {**row, **changes})


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


def _set_stock(world: World, plant: str, material: str, quantity: Decimal, unit: str | None) -> dict[str, object]:
    if plant not in plants():
        raise ValueError(f"plant: one of {', '.join(plants())} was expected, not {plant!r}")
    if not 1 <= len(material) <= 40:
        raise ValueError("material: 1 to 40 characters")
    if not quantity.is_finite():
        raise ValueError("quantity: a number")
    world.add_material(material, unit or BASE_UNIT)
    base_unit = unit or world.unit_of(material)
    if base_unit != world.unit_of(material):
        world.materials.put(material, base_unit)
    world.stock.put((plant, material), Stock(plant, material, quantity, base_unit))
    number = world.number("material document", 4_900_000_000)
    keys = {"MaterialDocumentYear": str(world.today().year), "MaterialDocument": number}
    world.emit("materialdocument.v1.MaterialDocument.Created.v1", {**keys, "Material": material, "Plant": plant})
    return {"plant": plant, "material": material, "quantity": state_view.plain(quantity), "unit": base_unit}


def _set_condition(world: World, account: str, material: str, order: _ConditionOrder) -> Condition:
    if not 1 <= len(material) <= 40:
        raise ValueError("material: 1 to 40 characters")
    if not order.price.is_finite() or order.price < 0:
        raise ValueError("price: a number, not negative")
    known = next(iter(world.credit_accounts.find("account", account)), None) if account else None
    code = _entity(order.legalEntity).code if order.legalEntity else (known.legal_entity if known else "")
    currency = order.currency or (known.currency if known else _entity(code or "GB01").currency)
    if decimals(currency) is None:
        raise ValueError(f"currency: {currency!r} is not known")
    world.add_material(material, order.unit or BASE_UNIT)
    now = world.stamp()
    condition = Condition(
        record=world.number("condition", 1),
        account=account,
        material=material,
        company_code=code,
        price=order.price,
        currency=currency,
        valid_from=order.start or date(now.year, 1, 1),
        valid_to=order.end or forever(),
        per=order.per,
        unit=order.unit or world.unit_of(material),
        deleted=False,
        changed_at=now,
        created_on=now.date(),
        scales=tuple(sorted((scale.start, scale.price) for scale in order.scales)),
    )
    if condition.valid_to < condition.valid_from:
        raise ValueError("to: before from")
    world.put_condition(condition)
    return condition


def _document(world: World, identifier: str) -> Document:
    parts = identifier.split("-")
    document = world.documents.get((parts[0], parts[1], parts[2])) if len(parts) == 3 else None
    if document is None:
        raise web.HTTPNotFound(text=f"no document {identifier}")
    return document


def _forge(world: World, order: _ForgedDocument) -> Document:
    entity = _entity(order.legal_entity)
    currency = order.currency or entity.currency
    _check_amount(order.gross, currency, "gross")
    day = order.posting_date or world.today(entity.code)
    settled = (
        Draft(order.gross, currency, customer=order.customer, gl_account=RECEIVABLES)
        if order.customer
        else Draft(order.gross, currency, gl_account=BANK)
    )
    drafts = [settled, Draft(-order.gross, currency, gl_account=REVENUE)]
    entry = ledger.Entry(
        entity.code, "DR", day, day, drafts, reference=order.reference, reference1=order.order, reference2=order.kind
    )
    return ledger.post(world, entry)


def _change(world: World, document: Document, order: _DocumentChange) -> Document:
    changed = replace(document, changed_at=world.stamp())
    if order.order is not None:
        changed = replace(changed, reference1=order.order)
    if order.reference is not None:
        changed = replace(changed, reference=order.reference)
    if order.kind is not None:
        changed = replace(changed, reference2=order.kind)
    if order.posting_date is not None:
        changed = replace(changed, posting_date=order.posting_date, fiscal_year=document.fiscal_year)
    if order.reversed is not None:
        changed = replace(changed, reversed_by=document.number if order.reversed else "")
    lines = ledger.lines_of(world, document)
    difference = Decimal(0)
    if order.gross is not None:
        _check_amount(order.gross, document.currency, "gross")
        difference = order.gross - ledger.gross(lines)
    world.documents.put(document.key, changed)
    settlement = next((line.item for line in lines if line.customer), lines[0].item)
    other = next(line.item for line in lines if line.item != settlement)
    for line in lines:
        moved = difference if line.item == settlement else -difference if line.item == other else Decimal(0)
        world.lines.put(
            line.key,
            replace(line, document=changed, amount=line.amount + moved, local_amount=line.local_amount + moved),
        )
    return changed
