"""What no honest interface of SAP can do: forge, alter, delete a posted document. Checks arrange it, nobody else may.

Nothing of what the ledger demands of a posting is checked here: a tampered document need not balance. What a document
was before it was first touched is kept, and `restore` puts exactly that back (a forged one goes).
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from sandbox.kit import exact_json
from sandbox.sap import ledger, state_view
from sandbox.sap.arrangements import check_amount, legal_entity, read
from sandbox.sap.configuration import BANK, RECEIVABLES, REVENUE, decimals
from sandbox.sap.records import Document, Draft, Line
from sandbox.sap.world import World

if TYPE_CHECKING:
    from sandbox.sap.simulator import SapSimulator


class ForgedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """POST /__sim/documents: a document that nobody posted through the front door.

    `copyOf` names a document of which it is a copy under a number of its own; other fields then replace the copy's.
    """

    legal_entity: str | None = None
    gross: Decimal | None = None
    copy_of: str | None = None
    order: str | None = None
    reference: str | None = None
    kind: str | None = None
    customer: str | None = None
    currency: str | None = None
    posting_date: date | None = None


class LineChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One line of a document, by its item number; a number it does not have adds a line."""

    item: int
    amount: Decimal | None = None
    account: str | None = None
    customer: str | None = None
    tax_code: str | None = None


class DocumentChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """PATCH /__sim/documents/{id}. `gross` moves the settlement and the first other line alike."""

    order: str | None = None
    reference: str | None = None
    kind: str | None = None
    header_text: str | None = None
    posting_date: date | None = None
    document_date: date | None = None
    currency: str | None = None
    reversed: bool | None = None
    gross: Decimal | None = None
    lines: list[LineChange] = []


def add_routes(app: web.Application, simulator: "SapSimulator") -> None:
    """Add the control calls that tamper with documents."""
    world = simulator.world

    async def forge_document(request: web.Request) -> web.Response:
        order = read(await request.read(), ForgedDocument)
        with world.state.atomic():
            document = forge(world, order)
        return exact_json.response(state_view.document(world, document))

    async def alter_document(request: web.Request) -> web.Response:
        order = read(await request.read(), DocumentChange)
        with world.state.atomic():
            document = change(world, _document(world, request.match_info["id"]), order)
        return exact_json.response(state_view.document(world, document))

    async def delete_document(request: web.Request) -> web.Response:
        document = _document(world, request.match_info["id"])
        shown = state_view.document(world, document)
        with world.state.atomic():
            _keep(world, document)
            ledger.remove(world, document)
        return exact_json.response(shown)

    async def restore_document(request: web.Request) -> web.Response:
        with world.state.atomic():
            restored = restore(world, _key(request.match_info["id"]))
        return exact_json.response({"restored": restored})

    routes: tuple[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]], ...] = (
        ("POST", "documents", forge_document),
        ("PATCH", "documents/{id}", alter_document),
        ("DELETE", "documents/{id}", delete_document),
        ("POST", "documents/{id}/restore", restore_document),
    )
    for method, path, handler in routes:
        app.router.add_route(method, f"/__sim/{path}", handler)


def forge(world: World, order: ForgedDocument) -> Document:
    """Put a document on the ledger that nobody posted."""
    document = _copy(world, order) if order.copy_of else _invented(world, order)
    world.untampered.put(document.key, (None, ()))
    return document


def change(world: World, document: Document, order: DocumentChange) -> Document:
    """Alter a posted document in place."""
    _keep(world, document)
    currency = order.currency or document.currency
    if decimals(currency) is None:
        raise ValueError(f"currency: {currency!r} is not known")
    changed = replace(
        document,
        changed_at=world.stamp(),
        currency=currency,
        reference1=_or(order.order, document.reference1),
        reference=_or(order.reference, document.reference),
        reference2=_or(order.kind, document.reference2),
        header_text=_or(order.header_text, document.header_text),
        posting_date=order.posting_date or document.posting_date,
        document_date=order.document_date or document.document_date,
    )
    if order.reversed is not None:
        changed = replace(changed, reversed_by=document.number if order.reversed else "")
    lines = ledger.lines_of(world, document)
    world.documents.put(document.key, changed)
    for line in _changed_lines(lines, document, order):
        world.lines.put(line.key, replace(line, document=changed, currency=currency))
    return changed


def restore(world: World, key: tuple[str, str, str]) -> str:
    """Put back what a document was before it was tampered with; says which."""
    kept = world.untampered.get(key)
    if kept is None:
        raise web.HTTPNotFound(text=f"document {'-'.join(key)} was not tampered with")
    standing = world.documents.get(key)
    if standing is not None:
        ledger.remove(world, standing)
    document, lines = kept
    if document is not None:
        world.documents.put(key, document)
        for line in lines:
            world.lines.put(line.key, line)
    world.untampered.delete(key)
    return "-".join(key)


def _invented(world: World, order: ForgedDocument) -> Document:
    if order.legal_entity is None or order.gross is None:
        raise ValueError("legalEntity, gross: both are needed, or copyOf")
    entity = legal_entity(order.legal_entity)
    currency = order.currency or entity.currency
    check_amount(order.gross, currency, "gross")
    day = order.posting_date or world.today(entity.code)
    settled = (
        Draft(order.gross, currency, customer=order.customer, gl_account=RECEIVABLES)
        if order.customer
        else Draft(order.gross, currency, gl_account=BANK)
    )
    entry = ledger.Entry(
        entity.code,
        "DR",
        day,
        day,
        [settled, Draft(-order.gross, currency, gl_account=REVENUE)],
        reference=order.reference or "",
        reference1=order.order or "",
        reference2=_or(order.kind, "invoice"),
    )
    return ledger.post(world, entry)


def _copy(world: World, order: ForgedDocument) -> Document:
    source = _document(world, str(order.copy_of))
    drafts = [
        Draft(
            line.amount, line.currency, line.gl_account, line.customer, line.text, line.assignment, line.tax_code,
            line.tax_base, line.is_tax, line.due, line.profit_center, line.cost_center, line.reference_key,
        )
        for line in ledger.lines_of(world, source)
    ]  # fmt: skip
    copied = ledger.post(
        world,
        ledger.Entry(
            source.company_code,
            source.type,
            order.posting_date or source.posting_date,
            order.posting_date or source.document_date,
            drafts,
            reference=_or(order.reference, source.reference),
            header_text=source.header_text,
            reference1=_or(order.order, source.reference1),
            reference2=_or(order.kind, source.reference2),
        ),
    )
    if order.gross is None:
        return copied
    return change(world, copied, DocumentChange(gross=order.gross))


def _changed_lines(lines: list[Line], document: Document, order: DocumentChange) -> list[Line]:
    moved: dict[int, Decimal] = {}
    if order.gross is not None:
        check_amount(order.gross, document.currency, "gross")
        difference = order.gross - ledger.gross(lines)
        settlement = next((line.item for line in lines if line.customer), lines[0].item)
        other = next(line.item for line in lines if line.item != settlement)
        moved = {settlement: difference, other: -difference}
    by_item = {one.item: one for one in order.lines}
    added = [
        replace(lines[0], item=item, amount=Decimal(0), local_amount=Decimal(0), customer="", tax_code="", due=None)
        for item in sorted(set(by_item) - {line.item for line in lines})
    ]
    if any(by_item[line.item].amount is None or by_item[line.item].account is None for line in added):
        raise ValueError(f"lines: an item that {document.id} does not have needs amount and account")
    changed = []
    for line in [*lines, *added]:
        wanted = by_item.get(line.item, LineChange(line.item))
        amount = line.amount + moved.get(line.item, Decimal(0)) if wanted.amount is None else wanted.amount
        changed.append(
            replace(
                line,
                amount=amount,
                local_amount=line.local_amount + amount - line.amount,
                gl_account=_or(wanted.account, line.gl_account),
                customer=_or(wanted.customer, line.customer),
                tax_code=_or(wanted.tax_code, line.tax_code),
            )
        )
    return changed


def _keep(world: World, document: Document) -> None:
    if document.key not in world.untampered:
        world.untampered.put(document.key, (document, tuple(ledger.lines_of(world, document))))


def _or(given: str | None, before: str) -> str:
    return before if given is None else given


def _document(world: World, identifier: str) -> Document:
    document = world.documents.get(_key(identifier))
    if document is None:
        raise web.HTTPNotFound(text=f"no document {identifier}")
    return document


def _key(identifier: str) -> tuple[str, str, str]:
    parts = identifier.split("-")
    if len(parts) != 3:
        raise web.HTTPNotFound(text=f"no document {identifier}")
    return parts[0], parts[1], parts[2]
