"""The checkout's question, read at the edge: every faulty field named, sums held to, nothing rounded.

Unit prices are net; `total` is gross and must be exactly lines plus charges plus tax; `onAccount` is what is held when
part is paid otherwise. Line amounts are not rounded line by line: what does not come out at the currency's smallest
unit belongs into a charge.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared import exact_json
from shared.authority.credit import CreditPolicy, Entity
from shared.domain.credit import CheckLine, CheckRequest, DecisionRecord, plain_account
from shared.domain.money import Money, decimal_of
from shared.domain.orders import faults_of, known_currency, misfits
from shared.errors import Fault, Malformed, Permanent

LINES_MAX = 5000


class UnknownEntity(Permanent):
    """The legal entity is none of ours."""


def read_check(raw: Any, policy: CreditPolicy, correlation_id: str) -> tuple[CheckRequest, Entity]:
    """The question and the legal entity it is put to. Raises `Malformed` with every fault, or `UnknownEntity`."""
    try:
        asked = _Check.model_validate(raw)
    except ValidationError as error:
        raise Malformed(_faults(error, raw, policy)) from error
    faults: list[Fault] = []

    def money(amount: Decimal, where: str) -> Money:
        try:
            return Money(amount, asked.currency)
        except ValueError as error:
            faults.append(Fault(where, str(error)))
            return Money.zero(asked.currency)

    total = money(asked.total, "total")
    on_account = total if asked.onAccount is None else money(asked.onAccount, "onAccount")
    money(asked.tax, "tax")
    net = sum((line.quantity * line.unitPrice for line in asked.lines), Decimal(0))
    sum_ = net + sum((charge.amount for charge in asked.charges), Decimal(0)) + asked.tax
    if sum_ != asked.total and not any(fault.where == "total" for fault in faults):
        faults.append(Fault("total", f"is {asked.total}, lines, charges and tax add up to {sum_.normalize():f}"))
    if asked.total < 0:
        faults.append(Fault("total", "is below zero: a checkout buys something"))
    if not faults and not Decimal(0) <= on_account.amount <= total.amount:
        faults.append(Fault("onAccount", f"is {on_account.text}, it lies between 0 and the total {total.text}"))
    if not asked.lines and not asked.charges:
        faults.append(Fault("lines", "are empty and there are no charges: nothing is bought"))
    if asked.replaces == asked.requestId:
        faults.append(Fault("replaces", "names a request, not the decision that is replaced"))
    if faults:
        raise Malformed(faults)
    entity = policy.entity(asked.legalEntity)
    if entity is None:
        raise UnknownEntity(f"{asked.legalEntity!r} is no legal entity of credit policy", code="unknown_legal_entity")
    account = plain_account(asked.account)
    request = CheckRequest(
        request_id=asked.requestId,
        digest=_digest(asked, account),
        legal_entity=asked.legalEntity,
        segment=entity.segment,
        account=account,
        channel=asked.channel,
        currency=asked.currency,
        lines=tuple(CheckLine(line.product, line.quantity, line.unitPrice) for line in asked.lines),
        total=total,
        on_account=on_account,
        requested_by=asked.requestedBy,
        replaces=asked.replaces,
        correlation_id=correlation_id,
    )
    return request, entity


def _faults(error: ValidationError, raw: Any, policy: CreditPolicy) -> list[Fault]:
    """Everything that is wrong, also what could be seen only where the rest is right."""
    faults = faults_of(error)
    if not isinstance(raw, dict):
        return faults
    named = {fault.where for fault in faults}
    faults += misfits([(name, raw.get(name)) for name in ("tax", "total", "onAccount")], raw.get("currency"), named)
    code = raw.get("legalEntity")
    if isinstance(code, str) and "legalEntity" not in named and policy.entity(code.strip()) is None:
        faults.append(Fault("legalEntity", "is no legal entity of credit policy"))
    return faults


def request_of_record(record: DecisionRecord) -> CheckRequest:
    """The question behind a decision, to weigh it again. Prices were weighed then and a person has seen them."""
    decision = record.decision
    return CheckRequest(
        request_id=decision.request_id,
        digest=decision.digest,
        legal_entity=decision.legal_entity,
        segment=decision.segment,
        account=decision.account,
        channel=decision.channel,
        currency=decision.amount.currency,
        lines=(),
        total=decision.total,
        on_account=decision.amount,
        requested_by=decision.requested_by,
        replaces=decision.replaces,
        correlation_id=decision.correlation_id,
    )


def _digest(asked: _Check, account: str) -> str:
    """The fingerprint of what was asked: 10 and 10.00 are the same, who carries the message is not part of it."""
    content = asked.model_dump(exclude={"requestId"}) | {"account": account}
    return hashlib.sha256(exact_json.canonical(_normal(content))).hexdigest()


def _normal(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, dict):
        return {name: _normal(inner) for name, inner in value.items()}
    return [_normal(inner) for inner in value] if isinstance(value, list) else value


def _above_zero(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be above zero")
    return value


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _no_control(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("holds control characters")
    return value


Number = Annotated[Decimal, BeforeValidator(decimal_of)]
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_no_control)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    product: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_no_control)]
    quantity: Annotated[Number, AfterValidator(_above_zero)]
    unitPrice: Annotated[Number, AfterValidator(_not_negative)]


class _Charge(BaseModel):
    model_config = ConfigDict(extra="ignore")

    code: Name
    amount: Number


class _Check(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    requestId: Name
    replaces: Annotated[str, Field(max_length=200)] = ""
    requestedBy: Annotated[str, Field(max_length=200), AfterValidator(_no_control)] = ""
    legalEntity: Annotated[str, Field(min_length=1, max_length=32)]
    account: Annotated[str, Field(min_length=1, max_length=32), AfterValidator(_no_control)]
    channel: Annotated[str, Field(max_length=64), AfterValidator(_no_control)] = ""
    currency: Annotated[str, AfterValidator(known_currency)]
    lines: Annotated[list[_Line], Field(max_length=LINES_MAX)]
    charges: Annotated[list[_Charge], Field(max_length=LINES_MAX)] = []
    tax: Annotated[Number, AfterValidator(_not_negative)] = Decimal(0)
    total: Number
    onAccount: Number | None = None
