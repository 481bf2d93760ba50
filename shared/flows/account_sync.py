"""A changed record, ruled on by field: the owner's change reaches the readers, any other is restored, held or let be.

Both sides are read again before anything is ruled: an event says that something changed, the records say what stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared import exact_json
from shared.clients.dataverse import TAG, upserting_at
from shared.clients.http import RemoteRefused
from shared.clients.sap_customer import SapCustomer
from shared.domain.changes import Change
from shared.domain.ownership import FieldFate, rule_on
from shared.domain.rulings import Accept, Hold, Reason, Ruling, Unchanged
from shared.mapping.customer import CUSTOMER
from shared.mapping.objects import GOVERNED
from shared.stores.records import Dossier, FieldRuling, Outcome
from shared.stores.table import Op, Row
from shared.wiring import Hub

_OBJECT = CUSTOMER.object
_CURRENCY_COLUMN = "_transactioncurrencyid_value"
_COLUMNS = (
    *(name for name in CUSTOMER.external_names("dataverse") if name != "transactioncurrencyid"),
    _CURRENCY_COLUMN,
    "accountnumber",
    "concord_legalentity",
    "concord_creditsegment",
)


async def account_sync(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
    """Rule on one changed record and carry the ruling out."""
    if GOVERNED.get(change.entity) != _OBJECT or change.source not in {"sap", "dataverse"}:
        return _unchanged("no_governed_object", f"{change.entity} of {change.source} is not a governed object")
    if change.data.get("tag") == TAG:
        return _unchanged("echo", "our own write came back")
    if change.kind in {"record.deleted", "record.merged"}:
        return _gone(change, hub)
    if change.source == "sap":
        return await _from_sap(change, hub)
    return await _from_dataverse(change, dossier, hub)


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's account row in Dataverse as read: `values` are its governed ones."""

    id: str
    etag: str
    number: str
    legal_entity: str
    segment: str
    values: Mapping[str, Any]


async def _from_sap(change: Change, hub: Hub) -> Outcome:
    """SAP owns what it sends: whatever differs from the copies is written to them."""
    row = await hub.dataverse.read("accounts", {"accountnumber": change.key}, select=_COLUMNS)
    account = None if row is None else await _account(row, hub)
    raw = await SapCustomer(hub.sap_stock.odata).read(change.key, _segment(account, hub))
    if raw is None:
        return _unchanged("unknown_in_sap", f"SAP has no business partner {change.key}")
    fates = rule_on(
        hub.policy.authority,
        _OBJECT,
        source="sap",
        changed=CUSTOMER.read("sap", raw),
        standing=account.values if account else {},
        legal_entity=account.legal_entity if account else "",
    )
    taken = [fate for fate in fates if fate.fate == "take"]
    if not taken:
        return Outcome(_nothing_new(fates), fields=_rulings(fates))
    # Dataverse last: what stands there is what the next attempt compares with. And only on what was read: an attempt
    # that was given up may land after SAP's next change. A Conflict starts again from what stands.
    if account is not None:
        await _write_commerce(account, taken, hub)
    etag = account.etag if account is not None else ""
    key = {"accountnumber": change.key}
    await hub.dataverse.write([upserting_at("accounts", key, await _columns(taken, hub), etag=etag)])
    return Outcome(Accept(), summary=_named("written", taken), fields=_rulings(fates))


async def _from_dataverse(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
    """A user's edit: taken where Dataverse owns the field, else what the authority file says."""
    row = await hub.dataverse.read_by_id("accounts", change.key, select=_COLUMNS)
    if row is None:
        return _unchanged("gone", "the account is not there any more")
    account = await _account(row, hub)
    if not account.number:
        return _unchanged("no_business_key", "the account has no number: it is no customer of the other systems yet")
    changed = _changed(change, account)
    if not changed:
        return _unchanged("no_governed_field", "none of the changed columns is governed")
    raw = await SapCustomer(hub.sap_stock.odata).read(account.number, _segment(account, hub))
    if raw is None:
        return _unchanged("unknown_in_sap", f"SAP has no business partner {account.number}")
    now = hub.clock()
    restored = _restored(dossier, now - timedelta(minutes=hub.policy.authority.restores.window_minutes))
    fates = rule_on(
        hub.policy.authority,
        _OBJECT,
        source="dataverse",
        changed=changed,
        standing=CUSTOMER.read("sap", raw),
        legal_entity=account.legal_entity,
        restored={name: len(times) for name, times in restored.items()},
    )
    taken = [fate for fate in fates if fate.fate == "take"]
    back = [fate for fate in fates if fate.fate == "restore"]
    await _write_commerce(account, taken, hub)
    if back:
        owners = [FieldFate(one.name, one.new, one.old, "sap", one.owner, one.readers, "take") for one in back]
        await hub.dataverse.change("accounts", account.id, await _columns(owners, hub), etag=account.etag)
    operations = tuple(_restore_noted(dossier, one.name, [*restored.get(one.name, ()), now]) for one in back)
    return Outcome(_ruling(fates), summary=_summary(fates), fields=_rulings(fates), operations=operations)


def _gone(change: Change, hub: Hub) -> Outcome:
    rule = hub.policy.authority.record_rule(_OBJECT)
    answer = rule.on_delete if change.kind == "record.deleted" else rule.on_merge
    what = change.kind.removeprefix("record.")
    if answer == "ignore":
        return _unchanged(f"{what}_ignored", f"the authority file leaves a {what} {_OBJECT} alone")
    return Outcome(
        Hold((Reason(f"record_{what}", f"a governed {_OBJECT} was {what} in {change.source}",
                     "restore the record, or carry the change out in the other systems, then resolve"),)),
    )  # fmt: skip


async def _account(row: Mapping[str, Any], hub: Hub) -> Account:
    values = CUSTOMER.read("dataverse", row)
    currency_id = row.get(_CURRENCY_COLUMN)
    values["credit_currency"] = await hub.dataverse.currency_code(str(currency_id)) if currency_id else ""
    return Account(
        id=str(row["accountid"]),
        etag=str(row.get("@odata.etag", "")),
        number=str(row.get("accountnumber") or ""),
        legal_entity=str(row.get("concord_legalentity") or ""),
        segment=str(row.get("concord_creditsegment") or ""),
        values=values,
    )


def _segment(account: Account | None, hub: Hub) -> str:
    """The credit segment of an account: its own, or that of its legal entity; "" where neither is known."""
    if account is None:
        return ""
    entity = hub.policy.ledger.legal_entities.get(account.legal_entity)
    return account.segment or (entity.credit_segment if entity else "")


def _changed(change: Change, account: Account) -> dict[str, Any]:
    """The governed values that the event is about, as they stand now; all of them where it does not say which."""
    fields = change.data.get("fields")
    if change.data.get("reread") or not isinstance(fields, dict):
        return dict(account.values)
    names = {CUSTOMER.name_of("dataverse", column) for column in fields}
    return {name: value for name, value in account.values.items() if name in names}


async def _write_commerce(account: Account, taken: Iterable[FieldFate], hub: Hub) -> None:
    values = {one.name: one.new for one in taken if "commerce" in one.readers}
    properties = CUSTOMER.write("commerce", values)
    if not properties or not account.legal_entity:
        return
    try:
        await hub.commerce.change_entity(
            "CustomersV3", {"dataAreaId": account.legal_entity, "CustomerAccount": account.number}, properties
        )
    except RemoteRefused as refusal:
        if refusal.status != 404:  # not a customer of Commerce: there is no copy to keep
            raise


async def _columns(fates: Iterable[FieldFate], hub: Hub) -> dict[str, Any]:
    values = {one.name: one.new for one in fates if "dataverse" in {one.owner, *one.readers}}
    currency = values.pop("credit_currency", None)
    columns = CUSTOMER.write("dataverse", values)
    if currency:
        columns["transactioncurrencyid@odata.bind"] = (
            f"/transactioncurrencies({await hub.dataverse.currency_id(currency)})"
        )
    return columns


def _restored(dossier: Dossier, since: datetime) -> dict[str, list[datetime]]:
    """Field → when it was restored since."""
    found: dict[str, list[datetime]] = {}
    for row in dossier.rows("0|restored|"):
        times = [datetime.fromisoformat(text) for text in exact_json.loads(row.values["times"])]
        found[row.key.rpartition("|")[2]] = [time for time in times if time >= since]
    return found


def _restore_noted(dossier: Dossier, name: str, times: Iterable[datetime]) -> Op:
    key = f"0|restored|{name}"
    row = Row(dossier.business_key, key, {"times": exact_json.dumps([time.isoformat() for time in times]).decode()})
    known = dossier.row(key)
    return Op("insert", row) if known is None else Op("replace", row, known.etag)


def _ruling(fates: Iterable[FieldFate]) -> Ruling:
    held = [one for one in fates if one.fate == "hold"]
    if held:
        return Hold(
            tuple(
                Reason("not_the_owner", f"{one.name} was changed in {one.source}; {one.owner} owns it",
                       f"change it in {one.owner}, or undo it in {one.source}, then resolve")
                for one in held
            )
        )  # fmt: skip
    restored = tuple(
        Reason("restored", f"{one.name} belongs to {one.owner}: its value was written back")
        for one in fates
        if one.fate == "restore"
    )
    if restored or any(one.fate in {"take", "accept_once"} for one in fates):
        return Accept(restored)
    return _nothing_new(fates)


def _nothing_new(fates: Iterable[FieldFate]) -> Unchanged:
    names = ", ".join(one.name for one in fates) or "nothing governed"
    return Unchanged((Reason("same_values", f"every system agrees on {names}"),))


def _summary(fates: Iterable[FieldFate]) -> str:
    words: dict[str, str] = {
        "take": "written", "restore": "restored", "hold": "held", "accept_once": "accepted once", "same": "same",
    }  # fmt: skip
    return "; ".join(
        _named(word, [one for one in fates if one.fate == fate])
        for fate, word in words.items()
        if any(one.fate == fate for one in fates)
    )


def _named(word: str, fates: Iterable[FieldFate]) -> str:
    return f"{word}: {', '.join(one.name for one in fates)}"


def _rulings(fates: Iterable[FieldFate]) -> tuple[FieldRuling, ...]:
    return tuple(
        FieldRuling(one.name, _text(one.old), _text(one.new), one.source, one.owner, one.fate) for one in fates
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _unchanged(code: str, message: str) -> Outcome:
    return Outcome(Unchanged((Reason(code, message),)), summary=message)
