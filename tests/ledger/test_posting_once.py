"""Each posting key becomes one document, whatever happens between the claim and the answer."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import OutcomeUnknown, RemoteDown
from shared.stores.table import RowChanged, RowExists
from tests.ledger.rig import again, bench, codes, confirmed, line, reading_together, sales_order


async def test_a_confirmed_order_posts_one_document_and_says_so_on_the_bus() -> None:
    async with bench() as at:
        outcome = await at.tell(confirmed(sales_order()))
        assert outcome.ruling.kind == "accept"
        assert [document["order"] for document in at.sap.documents] == ["S-1"]
        (posted,) = at.bus.published
        assert posted.kind == "order.posted"
        assert posted.key == "S-1"
        assert posted.data["posting"]["document"] == at.sap.documents[0]["AccountingDocument"]
        assert posted.data["posting"]["gross"] == "120.00"


async def test_a_confirmation_repeated_under_another_event_id_is_the_same_posting() -> None:
    async with bench() as at:
        first = confirmed(sales_order())
        await at.tell(first)
        outcome = await at.tell(again(first, "other-event"))
        assert codes(outcome) == ["posted_before"]
        assert len(at.sap.documents) == 1
        assert len(at.bus.published) == 1


async def test_other_content_under_the_same_key_is_a_case() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order()))
        outcome = await at.tell(confirmed(sales_order(lines=[line("1", "10", "110.00", "22.00")])))
        assert codes(outcome) == ["other_content"]
        assert len(at.sap.documents) == 1


async def test_a_crash_after_sending_is_found_not_repeated() -> None:
    async with bench() as at:
        change = confirmed(sales_order())
        await at.tell(change, settle=False)
        outcome = await at.tell(change)
        assert outcome.ruling.kind == "accept"
        assert len(at.sap.documents) == 1
        assert at.bus.published[0].message_id == at.bus.published[1].message_id


async def test_a_timed_out_posting_is_found_not_repeated() -> None:
    async with bench() as at:
        at.sap.faults = ["after"]
        with pytest.raises(OutcomeUnknown):
            await at.tell(confirmed(sales_order()))
        outcome = await at.tell(confirmed(sales_order()))
        assert outcome.ruling.kind == "accept"
        assert len(at.sap.bodies) == 1


async def test_a_posting_that_never_landed_is_sent_again_only_after_the_lease() -> None:
    async with bench() as at:
        at.sap.faults = ["before"]
        with pytest.raises(OutcomeUnknown) as unknown:
            await at.tell(confirmed(sales_order()))
        assert unknown.value.retry_after_seconds == pytest.approx(690)
        at.clock.advance(seconds=689)
        with pytest.raises(OutcomeUnknown) as waiting:
            await at.tell(confirmed(sales_order()))
        assert waiting.value.retry_after_seconds == pytest.approx(1)
        at.clock.advance(seconds=2)
        outcome = await at.tell(confirmed(sales_order()))
        assert outcome.ruling.kind == "accept"
        assert len(at.sap.documents) == 1


async def test_a_posting_that_lands_after_the_first_look_is_not_repeated() -> None:
    async with bench() as at:
        at.sap.faults = ["late"]
        with pytest.raises(OutcomeUnknown):
            await at.tell(confirmed(sales_order()))
        at.clock.advance(seconds=30)
        with pytest.raises(OutcomeUnknown):
            await at.tell(confirmed(sales_order()))
        at.sap.land_what_is_late()
        at.clock.advance(seconds=700)
        outcome = await at.tell(confirmed(sales_order()))
        assert outcome.ruling.kind == "accept"
        assert len(at.sap.documents) == 1


async def test_a_system_that_never_took_the_posting_costs_no_lease() -> None:
    async with bench() as at:
        at.sap.faults = ["503"]
        with pytest.raises(RemoteDown):
            await at.tell(confirmed(sales_order()))
        outcome = await at.tell(confirmed(sales_order()))
        assert outcome.ruling.kind == "accept"
        assert at.sap.probes == 0


async def test_two_documents_under_one_key_are_a_case() -> None:
    async with bench() as at:
        change = confirmed(sales_order())
        await at.tell(change, settle=False)
        at.sap.documents.append({**at.sap.documents[0], "AccountingDocument": "1899999999", "FiscalYear": "2027"})
        outcome = await at.tell(change)
        assert codes(outcome) == ["posted_twice"]


async def test_of_two_documents_under_one_key_the_one_that_is_not_reversed_stands() -> None:
    async with bench() as at:
        change = confirmed(sales_order())
        await at.tell(change, settle=False)
        other = {**at.sap.documents[0], "AccountingDocument": "1899999999"}
        at.sap.documents.append(other)
        assert codes(await at.tell(change)) == ["posted_twice"]
        at.sap.documents[0]["ReverseDocument"] = "1700000001"
        outcome = await at.tell(change)
        assert (outcome.ruling.kind, outcome.links["document"]) == ("accept", "GB01/2026/1899999999")
        assert len(at.sap.bodies) == 1


async def test_a_reversed_document_is_a_case_not_a_second_posting() -> None:
    async with bench() as at:
        change = confirmed(sales_order())
        await at.tell(change, settle=False)
        at.sap.documents[0]["ReverseDocument"] = "1700000001"
        outcome = await at.tell(change)
        assert codes(outcome) == ["posted_and_reversed"]
        assert len(at.sap.bodies) == 1


async def test_of_two_workers_who_read_at_the_same_moment_one_sends() -> None:
    async with bench() as at:
        change = confirmed(sales_order())
        with reading_together(at, 2):
            results = await asyncio.gather(at.tell(change), at.tell(change), return_exceptions=True)
        assert len(at.sap.bodies) == 1
        assert sum(isinstance(result, (RowExists, RowChanged)) for result in results) == 1


async def test_an_order_on_account_without_its_decision_is_held_and_nothing_is_sent() -> None:
    async with bench() as at:
        outcome = await at.tell(confirmed(sales_order(tenders=[("4", "120.00")])))
        assert codes(outcome) == ["no_credit_decision"]
        assert at.sap.bodies == []


async def test_a_refused_posting_is_a_case_with_its_remedy_and_can_be_replayed_at_once() -> None:
    async with bench() as at:
        at.sap.faults = ["reject:Posting period 11 2026 is not open in company code GB01"]
        outcome = await at.tell(confirmed(sales_order()))
        assert codes(outcome) == ["closed_period"]
        assert "open the posting period" in outcome.ruling.reasons[0].remedy
        outcome = await at.tell(confirmed(sales_order()))
        assert outcome.ruling.kind == "accept"
        assert at.sap.probes == 0


@pytest.mark.parametrize(
    ("note", "code"),
    [
        ("Customer C-1 is blocked for posting", "blocked_account"),
        ("Tax code A7 is not defined for GB01", "unknown_tax_code"),
        ("Balance in transaction currency GBP: 0.01 is not zero", "unbalanced"),
        ("Customer C-1 is not defined in company code GB01", "unknown_account"),
        ("Something new", "sap_rejected"),
    ],
)
async def test_what_sap_has_against_a_posting_gets_its_own_code(note: str, code: str) -> None:
    async with bench() as at:
        at.sap.faults = [f"reject:{note}"]
        assert codes(await at.tell(confirmed(sales_order()))) == [code]


async def test_a_worker_that_slept_past_its_window_does_not_send() -> None:
    async with bench() as at:
        write = at.hub.records.write

        async def slow(key: str, operations: object) -> list[str]:
            etags = await write(key, operations)  # type: ignore[arg-type]
            at.clock.advance(seconds=31)
            return etags

        object.__setattr__(at.hub.records, "write", slow)
        with pytest.raises(Exception, match="window"):
            await at.tell(confirmed(sales_order()))
        assert at.sap.bodies == []
