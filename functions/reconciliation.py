"""Door: the reconciliation of a legal entity and period, for people and for whoever watches the month."""

from __future__ import annotations

import azure.functions as func

from functions.answers import answer, malformed, problem, unavailable
from functions.people import may_read
from shared.errors import Malformed, Permanent, Transient
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("reconciliation")
@bp.route("reconciliation/{legalEntity}/{period}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def reconciliation(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.reconciliation import reconcile  # noqa: PLC0415 - DuckDB loads when somebody reconciles
    from shared.reports.reconciliation import as_json  # noqa: PLC0415

    connected = await hub()
    refused = may_read(req, connected.settings.service_key.get_secret_value())
    if refused is not None:
        return refused
    legal_entity, period = req.route_params.get("legalEntity", ""), req.route_params.get("period", "")
    if legal_entity not in connected.policy.ledger.legal_entities:
        return problem(404, f"{legal_entity!r} is no legal entity of this ledger", code="unknown-legal-entity")
    try:
        report = await reconcile(legal_entity, period, connected)
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    except Permanent as error:
        return problem(502, str(error), code=error.code)
    return answer(as_json(report))
