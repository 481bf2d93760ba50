"""Dataverse Web API v9.2: rows by alternate key, every write of ours marked so that its echo is known.

Writes by alternate key are upserts and so may be sent again; a conditional write says which version it was decided on,
so that one which nobody waits for any more cannot land on top of a later one.
What belongs together goes in one `$batch`, which counts as one of the 6,000 requests that a user has in five minutes,
however many operations it carries (learn.microsoft.com/power-apps/developer/data-platform/api-limits, on the number of
requests). Execution time counts in full, so batches stay as small as what belongs together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared import exact_json
from shared.clients.http import RemoteRefused, RemoteSystem, Response, headers_of, rehearsal
from shared.clients.odata4 import Entity, Scalar, entity_path, query_of, read_all, read_pages
from shared.clients.odata4_batch import (
    REQUESTS_MAX,
    NotABatchAnswer,
    Request,
    is_batch_answer,
    read_batch,
    write_batch,
)
from shared.clients.single_flight import SingleFlight
from shared.errors import Conflict, Permanent

TAG = "concord"
"""Stands in the SharedVariables of every webhook that a write of ours causes."""
CONCURRENCY_MAX = 52
"""Dataverse answers 429 (0x80072326) to one user's 53rd concurrent request."""
ROWS_MAX = 100
"""Rows in one UpsertMultiple: large orders stay far from the time that one statement may take."""

_ROOT = "/api/data/v9.2"
_STANDS_ALREADY = 412
_IS_GONE = 404
_JSON = (("Content-Type", "application/json"),)
_UNADDRESSABLE = frozenset('/#<>*%&:\\?+"~')


class NoSuchRow(Permanent):
    """A row that had to exist does not; or a row that this one points to."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind: its row's id and version ("" where Dataverse did not say)."""

    id: str
    etag: str


@dataclass(frozen=True, slots=True)
class RowRequest:
    """One request about a row, not sent yet. A refusal with status `done_by` says that its effect is there already.

    That holds for a step of one request: in a step of several such a refusal takes the others back too.
    """

    request: Request
    done_by: int | None = None


Step = Sequence[RowRequest]
"""Writes that stand or fall as one; or one read."""


class Dataverse:
    """The tables of one organization."""

    def __init__(self, system: RemoteSystem) -> None:
        self.system = system
        self._currencies: dict[str, str] = {}
        self._flights: SingleFlight[None] = SingleFlight()

    async def read(self, entity_set: str, key: Mapping[str, Scalar], *, select: Sequence[str] = ()) -> Entity | None:
        """One row with its `@odata.etag`, or None."""
        return await self._get(entity_path(entity_set, key), select)

    async def read_by_id(self, entity_set: str, row_id: str, *, select: Sequence[str] = ()) -> Entity | None:
        """One row by its GUID, or None."""
        return await self._get(f"{entity_set}({row_id})", select)

    async def find(self, entity_set: str, params: Mapping[str, str]) -> list[Entity]:
        """Every row that a query finds, page by page."""
        return await read_all(self.system, f"{_ROOT}/{entity_set}", params, _headers())

    def find_pages(self, entity_set: str, params: Mapping[str, str]) -> AsyncIterator[list[Entity]]:
        """The same one page at a time, for sets that are not to be held whole."""
        return read_pages(self.system, f"{_ROOT}/{entity_set}", params, _headers())

    async def write(self, *steps: Step) -> list[Response]:
        """Do the steps in order, each as a whole or not at all, in as few requests as Dataverse allows.

        A step that fails keeps those after it from being tried; those before it stand. Everything may be repeated.
        Gives the last answer of each step; raises NoSuchRow, Conflict, RemoteRefused of the request that failed, and
        what the way there raises.
        """
        left = [tuple(step) for step in steps]
        told: list[Response] = []
        while left:
            alone = len(left) == 1 and len(left[0]) == 1
            if alone or rehearsal.get() is not None:  # what a rehearsal shows is the writes, not their envelope
                told.append([await self._send(one) for one in left.pop(0)][-1])
                continue
            sent = _first_requests(left)
            begun = await self._send_batch(sent)
            for step, answers in zip(sent, begun, strict=False):
                told.append([self._judge(step, answer) for answer in answers][-1])
            left = left[len(begun) :]
        return told

    async def upsert(self, entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any]) -> None:
        """Create the row of an alternate key or set the given columns of it.

        Raises NoSuchRow when it binds to a row that does not exist.
        """
        await self._send(upserting(entity_set, key, row))

    async def create_once(self, entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any]) -> bool:
        """Create the row of an alternate key; False, and nothing changed, when it exists already."""
        return (await self._send(creating_once(entity_set, key, row))).status != _STANDS_ALREADY

    async def change(
        self, entity_set: str, row_id: str, row: Mapping[str, Any], *, etag: str, version_column: str = "versionnumber"
    ) -> Written:
        """Set columns of one row if it is still at `etag`, and give its new version; raises Conflict, NoSuchRow."""
        response = await self._patch(
            f"{entity_set}({row_id})", row, {"If-Match": etag, "Prefer": "return=representation"},
            params={"$select": version_column},
        )  # fmt: skip
        content = self.system.json(response, "idempotent")
        return Written(row_id, str(content.get("@odata.etag", "")) if isinstance(content, dict) else "")

    async def currency_id(self, code: str) -> str:
        """The id of an ISO currency; read once. Raises NoSuchRow for one that the organization does not have."""
        if code not in self._currencies:
            await self._flights.run("currencies", self._read_currencies)
        if code not in self._currencies:
            raise NoSuchRow(f"Dataverse has no currency {code}", code="crm_currency_missing",
                            remedy="add the currency in Dataverse, then replay")  # fmt: skip
        return self._currencies[code]

    async def _get(self, path: str, select: Sequence[str]) -> Entity | None:
        params = {"$select": ",".join(select)} if select else {}
        try:
            response = await self.system.request(
                "GET", f"{_ROOT}/{path}", params=params, headers=_headers(), write="read"
            )
        except RemoteRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        row: Entity = self.system.json(response, "read")
        return row

    async def currency_code(self, currency_id: str) -> str:
        """The ISO code of a currency row, "" for one that the organization does not have."""
        if currency_id not in self._currencies.values():
            await self._flights.run("currencies", self._read_currencies)
        return next((code for code, known in self._currencies.items() if known == currency_id), "")

    async def _read_currencies(self) -> None:
        rows = await self.find("transactioncurrencies", {"$select": "transactioncurrencyid,isocurrencycode"})
        self._currencies = {str(row["isocurrencycode"]): str(row["transactioncurrencyid"]) for row in rows}

    async def _send(self, row: RowRequest) -> Response:
        """Send one request by itself."""
        path, _, query = row.request.path.partition("?")
        reads = row.request.method == "GET"
        if reads and rehearsal.get() is not None:
            return Response(204, headers_of({}), b"")  # of a row that was not written there is nothing to read
        try:
            return await self.system.request(
                row.request.method, path, params=query_of(f"?{query}"), headers=_headers(dict(row.request.headers)),
                body=row.request.body or None, write="read" if reads else "idempotent",
            )  # fmt: skip
        except RemoteRefused as refusal:
            if refusal.status == row.done_by:
                return refusal.response
            raise _translated(refusal) from refusal

    async def _send_batch(self, steps: Sequence[Step]) -> list[tuple[Response, ...]]:
        """The answers of every step that was begun; a whole batch refused raises as any call does."""
        content_type, body = write_batch([[row.request for row in step] for step in steps])
        try:
            response = await self.system.request(
                "POST", f"{_ROOT}/$batch", headers=_headers({"Content-Type": content_type}), body=body,
                write="idempotent",
            )  # fmt: skip
        except RemoteRefused as refusal:
            if not is_batch_answer(refusal.response):
                raise
            response = refusal.response
        try:
            answers = read_batch(response)
        except NotABatchAnswer as error:
            raise self.system.unreadable("idempotent", f"the answer to a batch cannot be read ({error})") from error
        for step, told in zip(steps, answers, strict=False):
            if not told or (told[-1].status < 400 and len(told) != len(step)):
                raise self.system.unreadable("idempotent", "the answer to a batch leaves out what became of a write")
        if not answers or (len(answers) < len(steps) and answers[-1][-1].status < 400):
            raise self.system.unreadable("idempotent", "the answer to a batch ends before its last step")
        return answers

    def _judge(self, step: Step, answer: Response) -> Response:
        """What an answer inside of a batch says; the same as it would by itself."""
        if len(step) == 1 and answer.status == step[0].done_by:
            return answer
        try:
            return self.system.judge(answer, "idempotent")
        except RemoteRefused as refusal:
            raise _translated(refusal) from refusal

    async def _patch(
        self, path: str, row: Mapping[str, Any], headers: Mapping[str, str], params: Mapping[str, str] | None = None
    ) -> Response:
        try:
            return await self.system.request(
                "PATCH", f"{_ROOT}/{path}", params={"tag": TAG, **(params or {})},
                headers=_headers({"Content-Type": "application/json", **headers}), body=exact_json.dumps(row),
                write="idempotent",
            )  # fmt: skip
        except RemoteRefused as refusal:
            raise _translated(refusal) from refusal


def upserting(entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any]) -> RowRequest:
    """Create the row of an alternate key or set the given columns of it."""
    return RowRequest(_patching(entity_set, key, row))


def upserting_at(entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any], *, etag: str) -> RowRequest:
    """The same if the row is still at `etag`, or is not there where that is ""; refused with 412 otherwise."""
    condition = ("If-Match", etag) if etag else ("If-None-Match", "*")
    return RowRequest(_patching(entity_set, key, row, condition))


def creating_once(entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any]) -> RowRequest:
    """Create the row of an alternate key, or leave the one that exists as it is."""
    return RowRequest(_patching(entity_set, key, row, ("If-None-Match", "*")), done_by=_STANDS_ALREADY)


def deleting(entity_set: str, key: Mapping[str, Scalar]) -> RowRequest:
    """Delete the row of an alternate key, if there is one."""
    return RowRequest(Request("DELETE", _tagged(entity_path(entity_set, key))), done_by=_IS_GONE)


def reading_version(entity_set: str, key: Mapping[str, Scalar]) -> RowRequest:
    """Read the version of a row by its alternate key; `etag_in` finds it in the answer."""
    path = f"{_ROOT}/{entity_path(entity_set, key)}?$select={','.join(key)}"
    return RowRequest(Request("GET", path), done_by=_IS_GONE)


def etag_in(response: Response) -> str:
    """The version of the row that an answer shows, "" where it shows none."""
    if response.status != 200:
        return ""
    row = exact_json.loads(response.body)
    return str(row.get("@odata.etag", "")) if isinstance(row, dict) else ""


def upserting_many(
    entity_set: str, logical_name: str, key_column: str, rows: Sequence[Mapping[str, Any]]
) -> Iterator[RowRequest]:
    """Upsert rows by their alternate key `key_column`, which each row carries: one write for each `ROWS_MAX`."""
    for start in range(0, len(rows), ROWS_MAX):
        targets = [
            {
                "@odata.type": f"Microsoft.Dynamics.CRM.{logical_name}",
                "@odata.id": entity_path(entity_set, {key_column: row[key_column]}),
                **{name: value for name, value in row.items() if name != key_column},
            }
            for row in rows[start : start + ROWS_MAX]
        ]
        path = _tagged(f"{entity_set}/Microsoft.Dynamics.CRM.UpsertMultiple")
        yield RowRequest(Request("POST", path, _JSON, exact_json.dumps({"Targets": targets})))


def key_text(*parts: str) -> str:
    """A value for an alternate key of ours: parts joined by `|`, characters that Dataverse cannot address escaped.

    Documented: a key value with any of / # < > * % & : \\ ? + " cannot be used in a url; `~` and two hex digits stand
    for them here, so that different parts never give the same key.
    """
    return "|".join(
        "".join(f"~{ord(one):02X}" if one in _UNADDRESSABLE or one == "|" else one for one in part) for part in parts
    )


def bind(entity_set: str, key: Mapping[str, Scalar]) -> str:
    """The value of an `@odata.bind`: a row by its alternate key."""
    return f"/{entity_path(entity_set, key)}"


def _patching(
    entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any], *conditions: tuple[str, str]
) -> Request:
    return Request("PATCH", _tagged(entity_path(entity_set, key)), (*_JSON, *conditions), exact_json.dumps(row))


def _tagged(path: str) -> str:
    """The tag belongs to a request, and so stands at each one of a batch."""
    return f"{_ROOT}/{path}?tag={TAG}"


def _first_requests(steps: Sequence[Step]) -> Sequence[Step]:
    """As many of the first steps as one batch carries; one step at least."""
    requests = 0
    for index, step in enumerate(steps):
        requests += len(step)
        if index and requests > REQUESTS_MAX:
            return steps[:index]
    return steps


def _headers(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"OData-Version": "4.0", "OData-MaxVersion": "4.0", **(more or {})}


def _translated(refusal: RemoteRefused) -> Permanent | Conflict:
    """412 is another writer (or an existing row); 404 is a missing row, by address or by binding."""
    if refusal.status == 412:
        return Conflict(str(refusal))
    if refusal.status == 404:
        return NoSuchRow(str(refusal), code="crm_row_missing", remedy="create the row in Dataverse, then replay")
    return refusal
