"""Health: is this worker able to do its work; for those who may read, also what it has counted since it started."""

from __future__ import annotations

import azure.functions as func

from functions.answers import answer
from functions.people import may_read
from functions.traced import traced
from shared.errors import ConcordError
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("health")
@bp.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def health(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    checks: dict[str, object] = {"policy": {"ok": True, "digest": connected.policy.digest}}
    try:
        parked = await connected.parked.list()
        checks["tables"] = {"ok": True}
    except ConcordError as error:
        parked = []
        checks["tables"] = {"ok": False, "why": str(error)}
    healthy = all(isinstance(check, dict) and check["ok"] for check in checks.values())
    status = 200 if healthy else 503
    if may_read(req, connected.settings.service_key.get_secret_value()) is not None:
        return answer({"status": "ok" if healthy else "degraded"}, status)
    return answer(
        {
            "status": "ok" if healthy else "degraded",
            "checks": checks,
            "parkedKeys": len(parked),
            "counters": connected.counters.snapshot(),
        },
        status,
    )
