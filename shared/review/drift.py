"""What the product uses of each remote service, held against the service's own metadata.

A property that has gone or changed its kind is an error: the flow that uses it would fail on the first request after
the upgrade. A service whose document is not there is a warning: nobody looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from shared.mapping.engine import ObjectMap, flag, moment, number
from shared.mapping.engine import day as calendar_day
from shared.review.findings import Finding, error, warning
from shared.review.metadata import Kind, Service

USES = Path(__file__).with_name("uses.yaml")
_MAPPED_SERVICES = {"dataverse": "Microsoft.Dynamics.CRM", "commerce": "Microsoft.Dynamics.DataEntities"}
_COMPATIBLE: set[tuple[Kind, Kind]] = {("text", "id"), ("text", "link"), ("number", "text")}
"""(used as, declared as): ids and lookups travel as text; OpenAPI documents of SAP call decimals text."""


class ServiceUse(BaseModel):
    """One service: the flows that stop without it, and the properties used of each entity set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flows: tuple[str, ...]
    sets: dict[str, dict[str, Kind]]


def read_uses(path: Path = USES) -> dict[str, ServiceUse]:
    """The declaration of what the clients use."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: ServiceUse.model_validate(use) for name, use in raw.items()}


def mapped_uses(objects: Mapping[str, ObjectMap]) -> dict[str, ServiceUse]:
    """What the mapping tables use of Dataverse and of Commerce headquarters."""
    kinds: dict[int, Kind] = {id(number): "number", id(flag): "flag", id(moment): "time", id(calendar_day): "time"}
    uses: dict[str, ServiceUse] = {}
    for system, service in _MAPPED_SERVICES.items():
        sets: dict[str, dict[str, Kind]] = {}
        for table in objects.values():
            entity_set = next((own for name, own in table.sets.items() if name == system), "")
            if entity_set in {"", "SalesOrders", "SalesLines"}:  # Retail Server's, which publishes no such document
                continue
            for field in table.fields:
                name = {"dataverse": field.dataverse, "commerce": field.commerce}[system].rpartition("/")[2]
                if name:
                    sets.setdefault(entity_set, {})[name] = kinds.get(id(field.convert), "text")
        if sets:
            uses[service] = ServiceUse(flows=("account_sync", "crm_history_update"), sets=sets)
    return uses


def review_drift(uses: Mapping[str, ServiceUse], services: Mapping[str, Service]) -> list[Finding]:
    """Every use that the metadata no longer bears out."""
    return [finding for name, use in sorted(uses.items()) for finding in _service(name, use, services.get(name))]


def _service(name: str, use: ServiceUse, service: Service | None) -> Iterator[Finding]:
    if service is None:
        yield warning(name, f"no metadata document; {', '.join(use.flows)} use it", "export its $metadata as well")
        return
    for entity_set, properties in use.sets.items():
        declared = service.sets.get(entity_set)
        where = f"{service.document}: {entity_set}"
        if declared is None:
            yield error(
                where, f"is not there; {', '.join(use.flows)} use it", "do not upgrade before a client is changed"
            )
            continue
        for prop, kind in properties.items():
            found = declared.get(prop) or declared.get(f"_{prop}_value")
            if found is None:
                yield error(
                    f"{where}.{prop}", f"is not there; {', '.join(use.flows)} use it", "change the client first"
                )
            elif found != kind and (kind, found) not in _COMPATIBLE:
                yield error(f"{where}.{prop}", f"is {found} but is used as {kind}", "change the client first")
