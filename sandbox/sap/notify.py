"""Events as SAP sends them: CloudEvents in structured mode that carry keys only."""

import uuid
from collections.abc import Mapping
from typing import Final

from sandbox.kit import exact_json
from sandbox.kit.events import Emitter
from sandbox.kit.state import State

_PATH: Final = "/api/webhooks/sap"
_SOURCE: Final = "/default/sap.s4.beh/S4SCLNT100"


def emit(events: Emitter, state: State, kind: str, keys: Mapping[str, str]) -> None:
    """Queue one event; `kind` is the type without the `sap.s4.beh.` that all begin with."""
    event = {
        "type": f"sap.s4.beh.{kind}",
        "specversion": "1.0",
        "source": _SOURCE,
        "id": str(uuid.uuid4()),
        "time": state.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": dict(keys),
    }
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    events.emit(_PATH, exact_json.dumps(event), key="/".join(keys.values()), headers=headers)
