"""Captured webhook bodies become the right change, also in the forms that Dataverse gives them on the wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.kit import exact_json
from tests.end_to_end.conftest import Outside

KINDS = {"Create": "record.created", "Update": "record.updated"}


def as_captured(body: bytes) -> bytes:
    return body


def with_escaped_slashes(body: bytes) -> bytes:
    """As DataContractJsonSerializer writes: every slash of a text escaped."""
    return body.replace(b"\\/", b"/").replace(b"/", b"\\/")


def above_256_kilobytes(body: bytes) -> bytes:
    """What is dropped from a message that would be too large."""
    context = exact_json.loads_object(body)
    for part in ("ParentContext", "InputParameters", "PreEntityImages", "PostEntityImages"):
        context[part] = None if part == "ParentContext" else []
    return exact_json.dumps(context)


FORMS: list[Callable[[bytes], bytes]] = [as_captured, with_escaped_slashes, above_256_kilobytes]


@pytest.mark.parametrize("form", FORMS)
async def test_a_captured_webhook_becomes_the_right_change(
    outside: Outside, data: Path, form: Callable[[bytes], bytes]
) -> None:
    bodies = sorted((data / "dataverse-webhooks").glob("*.json"))
    assert len(bodies) == 4
    expected: list[tuple[str, str, str]] = []
    for path in bodies:
        captured: dict[str, Any] = exact_json.loads_object(path.read_bytes())
        # Another operation of the same record: what was sent before is known and would be settled as a repeat.
        captured["OperationId"] = f"{FORMS.index(form):08d}-{bodies.index(path):04d}-4000-8000-000000000000"
        size = {"x-ms-dynamics-msg-size-exceeded": "true"} if form is above_256_kilobytes else {}
        reply = await outside.ask("POST", "/api/webhooks/dataverse", form(exact_json.dumps(captured)), headers=size)
        assert reply.status == 202, (path.name, reply.body)
        expected.append((captured["PrimaryEntityName"], captured["PrimaryEntityId"], captured["MessageName"]))
    await outside.rest()
    for entity, record, message in expected:
        kept = await outside.evidence(entity, record)
        assert (kept[-1]["kind"], kept[-1]["source"]) == (KINDS[message], "dataverse"), (entity, record)
        assert await outside.cases_about(record) == []
