"""The Web API: which request goes where, one unit of work for each, and batches of them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final
from uuid import uuid4

from sandbox.dataverse import metadata, reads, writes
from sandbox.dataverse.address import read_address
from sandbox.dataverse.batch import (
    BATCH_PATH,
    BATCH_REQUESTS_MAX,
    ChangeSet,
    Part,
    parts_of,
    read_batch,
    write_batch,
)
from sandbox.dataverse.calls import ApiAnswer, ApiCall
from sandbox.dataverse.errors import NO_SEGMENT, UNEXPECTED, Refused, bad_query, no_such_reference
from sandbox.dataverse.model import stable_id
from sandbox.dataverse.query import read_query
from sandbox.dataverse.rows import Caller, Change, Rows, Work
from sandbox.kit.faults import FailingPart

ORGANIZATION_ID: Final = stable_id("organization")
BUSINESS_UNIT_ID: Final = stable_id("business-unit")
_TOO_MANY_IN_BATCH: Final = "0x80048d1f"

type Published = Callable[[Caller, list[Change]], None]


class WebApi:
    """Answers requests below the service root. Messages of work that stands go to `publish`."""

    def __init__(self, rows: Rows, publish: Published) -> None:
        self._rows = rows
        self._publish = publish

    def answer(self, call: ApiCall, caller: Caller, failing: FailingPart | None = None) -> ApiAnswer:
        """Answer one request, a batch included; `failing` is the part of it that is made to fail.

        Never raises Refused: refusals are answers.
        """
        try:
            if call.path == BATCH_PATH:
                return self._batch(call, caller, failing)
            work = Work(self._rows, _as_asked(call, caller))
            with self._rows.atomic():
                answer = self._route(call, work, {})
        except Refused as refused:
            return ApiAnswer.of_refusal(refused)
        self._publish(work.caller, work.changes)
        return answer

    def _route(self, call: ApiCall, work: Work, references: Mapping[str, str]) -> ApiAnswer:
        if call.path == "" and call.method == "GET":
            return metadata.service_document(call, self._rows)
        if call.path == "$metadata" and call.method == "GET":
            return metadata.csdl(self._rows)
        if re.match(r"EntityDefinitions\b", call.path):
            return metadata.definitions(call, self._rows)
        if call.path in {"WhoAmI", "WhoAmI()"} and call.method == "GET":
            return self._who_am_i(call, work.caller)
        if call.path == "BulkDelete" and call.method == "POST":
            return writes.run_bulk_delete(call, work)
        query = read_query(call.query)
        aliases = {name: value for name, value in query.items() if name.startswith("@")}
        address = read_address(call.path, self._rows, aliases)
        match call.method:
            case "GET" if address.is_row and not address.rest:
                return reads.read_row(call, self._rows, address.table, address.require(self._rows))
            case "GET" if address.is_row:
                row = address.require(self._rows)
                return reads.read_property(call, self._rows, address.table, row, address.rest)
            case "GET" if address.rest == ("$count",):
                return reads.count_rows(call, self._rows, address.table)
            case "GET" if not address.rest:
                return reads.read_rows(call, self._rows, address.table)
            case "POST" if not address.is_row and not address.rest:
                return writes.create_row(call, work, address.table, references)
            case "POST" if not address.is_row and len(address.rest) == 1:
                action = address.rest[0].removeprefix("Microsoft.Dynamics.CRM.")
                if action in writes.BULK_ACTIONS and action != address.rest[0]:
                    return writes.run_bulk_action(call, work, address.table, action)
            case "PATCH" if address.is_row and not address.rest:
                return writes.patch_row(call, work, address, references)
            case "PUT" if address.is_row and address.rest:
                return writes.put_property(call, work, address)
            case "DELETE" if address.is_row:
                return writes.delete_row(call, work, address)
        if address.rest:
            raise Refused(404, NO_SEGMENT, f"Resource not found for the segment '{address.rest[0]}'.")
        raise Refused(405, "0x8006088a", f"The requested resource does not support http method '{call.method}'.")

    def _who_am_i(self, call: ApiCall, caller: Caller) -> ApiAnswer:
        return ApiAnswer.of_json(
            {
                "@odata.context": f"{call.root}/$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse",
                "BusinessUnitId": BUSINESS_UNIT_ID,
                "UserId": caller.user_id,
                "OrganizationId": ORGANIZATION_ID,
            }
        )

    def _batch(self, call: ApiCall, caller: Caller, failing: FailingPart | None) -> ApiAnswer:
        if call.method != "POST":
            raise Refused(405, "0x8006088a", "A batch is sent with POST.")
        items = read_batch(call)
        parts = parts_of(items)
        if len(parts) > BATCH_REQUESTS_MAX:
            raise Refused(400, _TOO_MANY_IN_BATCH, f"A batch may carry at most {BATCH_REQUESTS_MAX} requests.")

        def allow(part: Part) -> None:
            if failing is not None and part is parts[failing.index]:
                raise _injected(part, failing)

        going_on = "odata.continue-on-error" in call.preferences()
        answers: list[list[tuple[Part, ApiAnswer]] | tuple[Part, ApiAnswer]] = []
        failed = False
        for item in items:
            if isinstance(item, ChangeSet):
                outcome = self._change_set(item, caller, allow)
                answers.append(outcome)
                failed = isinstance(outcome, tuple)
            else:
                answer = self._single(item, caller, allow)
                answers.append((item, answer))
                failed = answer.status >= 400
            if failed and not going_on:
                break
        return write_batch(answers, 400 if failed and not going_on else 200, str(uuid4()))

    def _single(self, part: Part, caller: Caller, allow: Callable[[Part], None]) -> ApiAnswer:
        try:
            allow(part)
        except Refused as refused:
            return ApiAnswer.of_refusal(refused)
        return _nested() if part.call.path == BATCH_PATH else self.answer(part.call, caller)

    def _change_set(
        self, item: ChangeSet, caller: Caller, allow: Callable[[Part], None]
    ) -> list[tuple[Part, ApiAnswer]] | tuple[Part, ApiAnswer]:
        """Answers of every part; or of the one that failed, and then nothing stays."""
        works: list[Work] = []
        references: dict[str, str] = {}
        answers: list[tuple[Part, ApiAnswer]] = []
        part = item.parts[0]
        try:
            with self._rows.atomic():
                for part in item.parts:
                    allow(part)
                    if part.call.method == "GET":
                        raise bad_query("A change set cannot contain GET requests.")
                    works.append(Work(self._rows, _as_asked(part.call, caller)))
                    answer = self._route(_resolved(part.call, references), works[-1], references)
                    if part.content_id and "OData-EntityId" in answer.headers:
                        references[f"${part.content_id}"] = answer.headers["OData-EntityId"]
                    answers.append((part, answer))
        except Refused as refused:
            return part, ApiAnswer.of_refusal(refused)
        for work in works:
            self._publish(work.caller, work.changes)
        return answers


def _as_asked(call: ApiCall, caller: Caller) -> Caller:
    """The caller with what modifies this one request: its `tag`, and the logic that it bypasses."""
    bypass = call.headers.get("MSCRM.BypassBusinessLogicExecution", "")
    silent = "CustomAsync" in {part.strip() for part in bypass.split(",")}
    return replace(caller, tag=read_query(call.query).get("tag"), silent=silent)


def _injected(part: Part, failing: FailingPart) -> Refused:
    wait = {} if failing.retry_after is None else {"Retry-After": str(failing.retry_after)}
    return Refused(
        failing.status, UNEXPECTED, f"injected fault: {failing.status} for {part.call.method} {part.call.path}", wait
    )


def _resolved(call: ApiCall, references: Mapping[str, str]) -> ApiCall:
    """A call to $n, or below it, goes to what request n of the change set wrote."""
    if not call.path.startswith("$"):
        return call
    name, slash, rest = call.path.partition("/")
    if name not in references:
        raise no_such_reference(name)
    path = references[name].removeprefix(f"{call.root}/")
    return ApiCall(call.method, f"{path}{slash}{rest}", call.query, call.headers, call.body, call.origin)


def _nested() -> ApiAnswer:
    return ApiAnswer.of_refusal(bad_query("A batch cannot contain a batch."))
