"""Policy: the three files a steward reads, read once, laid over, hashed.

`authority.yaml` says who owns each field, `credit.yaml` how checkouts are decided, `ledger.yaml` how orders reach the
ledger and how messages wait. An overlay (a YAML file with any of the top keys authority, credit, ledger, messaging)
is laid over the shipped values, key by key. The digest of what is in force is stamped on each ruling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared import exact_json
from shared.authority.credit import CreditPolicy
from shared.authority.ledger import LedgerPolicy
from shared.authority.ownership import Authority

_ROOM = Path(__file__).parent
_FILES = ("authority", "credit", "ledger", "messaging")


class PolicyFaulty(Exception):
    """The policy files do not allow a start; the message lists every fault."""


class MessagingPolicy(BaseModel):
    """How messages wait. All times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lane_wait_seconds: float = Field(200.0, gt=0, description="how long a lane waits for a system that is down")
    retry_first_seconds: float = Field(2.0, gt=0)
    retry_max_seconds: float = Field(300.0, gt=0)
    attempts_max: int = Field(12, ge=1, description="parked retries before a person is asked")
    crash_deliveries: int = Field(4, ge=2, description="deliveries that killed a worker before the message is parked")


@dataclass(frozen=True, slots=True)
class Policy:
    """What is in force, and its digest."""

    authority: Authority
    credit: CreditPolicy
    ledger: LedgerPolicy
    messaging: MessagingPolicy
    digest: str


def load_policy(overlay: Path | None = None) -> Policy:
    """Read the shipped files and the overlay; raises `PolicyFaulty` with every fault named."""
    raw: dict[str, Any] = {name: _read(_ROOM / f"{name}.yaml") for name in _FILES}
    if overlay is not None:
        laid = _read(overlay)
        unknown = sorted(set(laid) - set(_FILES))
        if unknown:
            raise PolicyFaulty(f"{overlay.name}: unknown top keys {', '.join(unknown)}; known are {', '.join(_FILES)}")
        raw = _lay_over(raw, laid)
    faults: list[str] = []

    def read[Model: BaseModel](name: str, model: type[Model]) -> Model | None:
        try:
            return model.model_validate(raw[name])
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                where = ".".join(str(part) for part in problem["loc"])
                faults.append(f"  {name}.yaml: {where}: {problem['msg'].removeprefix('Value error, ')}")
            return None

    authority = read("authority", Authority)
    credit = read("credit", CreditPolicy)
    ledger = read("ledger", LedgerPolicy)
    messaging = read("messaging", MessagingPolicy)
    if authority is None or credit is None or ledger is None or messaging is None:
        raise PolicyFaulty("\n".join(["policy is faulty:", *faults]))
    faults = [f"  ledger.yaml: {fault}" for fault in _sales_areas_that_differ(credit, ledger)]
    if faults:
        raise PolicyFaulty("\n".join(["policy is faulty:", *faults]))
    digest = hashlib.sha256(exact_json.canonical(_plain(raw))).hexdigest()[:16]
    return Policy(authority, credit, ledger, messaging, digest)


def _sales_areas_that_differ(credit: CreditPolicy, ledger: LedgerPolicy) -> list[str]:
    """The checkout has SAP price and weigh an order in the sales area in which it is placed later, or says other
    things than the ledger does."""
    faults = []
    for code, entity in ledger.legal_entities.items():
        rules, checked = entity.sales_order, credit.legal_entities.get(code)
        if entity.posting != "sales_order" or rules is None or checked is None:
            continue
        area = checked.sales_area
        placed = (rules.type, rules.sales_organization, rules.distribution_channel, rules.division)
        simulated = (area.order_type, area.organization, area.channel, area.division)
        if placed != simulated:
            faults.append(
                f"legal_entities.{code}.sales_order: places orders in {'/'.join(placed)}, "
                f"credit.yaml checks them in {'/'.join(simulated)}"
            )
    return faults


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_ExactLoader)  # noqa: S506 - a SafeLoader below
    except OSError as error:
        raise PolicyFaulty(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyFaulty(f"{path.name} is not text in UTF-8: {error.reason} at byte {error.start}") from error
    except yaml.YAMLError as error:
        raise PolicyFaulty(f"{path.name} is not YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise PolicyFaulty(f"{path.name} is not a mapping")
    return content


class _ExactLoader(yaml.SafeLoader):
    """YAML in which 1.10 stays the text "1.10": the models turn it into an exact decimal."""


_ExactLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _lay_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    laid = dict(base)
    for key, value in over.items():
        known = laid.get(key)
        laid[key] = _lay_over(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return laid


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)
