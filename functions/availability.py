"""Door: what may be sold of a product at a location, and as of when."""

from __future__ import annotations

import azure.functions as func

from functions.answers import answer, malformed, problem, unavailable
from functions.traced import traced
from shared.errors import Malformed, Permanent, Transient
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("availability")
@bp.route(route="availability", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@traced
async def availability(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.availability import availability as story

    product, location = req.params.get("product", "").strip(), req.params.get("location", "").strip()
    try:
        stand = await story(product, location, await hub())
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    except Permanent as error:
        return problem(502, str(error), code=error.code)
    if stand is None:
        return problem(404, f"no stock of {product} is kept at {location}", code="unknown-stock")
    return answer(
        {
            "product": stand.product,
            "location": stand.location,
            "legalEntity": stand.legal_entity,
            "onHand": stand.on_hand,
            "reserved": stand.reserved,
            "availableToPromise": stand.promise,
            "unit": stand.unit,
            "asOf": stand.as_of.isoformat(),
        }
    )
