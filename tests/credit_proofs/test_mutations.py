"""Each sentence of the credit book's protocol, broken on purpose, is noticed by a proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import ROOT, Mutation, as_document, is_caught, mutated

DOCUMENT = ROOT / "docs" / "proofs" / "credit-mutations.md"
CHECKS = "shared/stores/credit_book/checks.py"
BOOK = "shared/stores/credit_book/book.py"
COUNTING = "shared/domain/credit_counting.py"
TRANSITIONS = "shared/domain/credit_transitions.py"
DECISION = "shared/domain/credit_decision.py"
NOUNS = "shared/domain/credit.py"
DESK = "tests/credit/test_desk.py"
FAILING = "tests/credit_proofs/test_failing_tables.py"
LIFE = "tests/credit/test_transitions.py"
COUNTED = "tests/credit/test_counting.py"

MUTATIONS = (
    Mutation("epoch ignored", "a grant is conditional on the account's version", CHECKS,
             'Op("replace", account, account_row.etag) if', 'Op("upsert", account) if', f"{DESK} -k 64_at_once"),
    Mutation("exposure read first", "the book is read before SAP is asked", CHECKS,
             '        found = await book.table.query(partition, prefix="0|")\n',
             "        early = await self._ask(first, book.clock(), min(one.deadline for one in group), [])\n"
             '        found = await book.table.query(partition, prefix="0|")\n', f"{DESK} -k book_is_read_before",
             also=(("            said = await self._ask(first, now, min(one.deadline for one in group), held)\n",
                    "            said = early\n"),)),
    Mutation("others not held", "what other checkouts hold counts", CHECKS,
             "return others + counted.with_one_more(family, value), others",
             "return counted.with_one_more(family, value), others", f"{DESK} -k 64_at_once"),
    Mutation("a change counts beside its order", "a change weighs what it adds to its order", COUNTING,
             "return self._count(members, value) if members else value",
             "return self.of(family) + value", f"{DESK} -k changes_its_order"),
    Mutation("a look-alike expiry frees credit", "a hold counts until it is released", CHECKS,
             "            await book.release_expired(partition, expired)\n", "",
             f"{DESK} -k clock_that_is_behind"),
    Mutation("firm holds expire", "no clock can take a confirmed order's hold", NOUNS,
             'return self.state == "placed" and self.expires_at <= now',
             'return self.state in ("placed", "firm") and self.expires_at <= now', f"{FAILING} -k outlives"),
    Mutation("released when posted", "a posted order counts until SAP shows it", TRANSITIONS,
             'if posted >= hold.amount:\n        return replace(hold, state="posted")',
             'if posted >= hold.amount:\n        return replace(hold, state="consumed", closed_at=hold.placed_at)',
             f"{DESK} -k however_long"),
    Mutation("consumed unseen", "a hold ends when its document is seen, not when it is posted", COUNTING,
             'return hold.state == "posted" and bool(hold.postings) and all(',
             'return hold.state == "posted" or bool(hold.postings) and all(', f"{DESK} -k however_long"),
    Mutation("unseen not counted", "a posting counts until the figure contains it", COUNTING,
             "return (rest if rest > zero else zero) + unseen", "return rest if rest > zero else zero", COUNTED),
    Mutation("counted twice", "an invoice that SAP shows is not held for as well", COUNTING,
             "rest = whole - moved - (_already_in(live, known, figure) if live else zero)", "rest = whole - moved",
             COUNTED),
    Mutation("taken off twice", "what was consumed is taken off an order once", COUNTING,
             "            if item.reference not in known and item.amount > zero",
             "            if item.amount > zero", COUNTED),
    Mutation("a change adds up", "a change counts with what it replaces as the larger of both", COUNTING,
             "whole = max((*(hold.value for hold in live), one_more or zero))",
             "whole = sum((hold.value for hold in live), one_more or zero)", f"{COUNTED} -k replaces"),
    Mutation("the replaced hold stays", "a changed order leaves one hold", BOOK,
             "ends = [one for one in others if one.hold.state in LIVE] if stands.state in LIVE else []",
             "ends: list[Held] = []", f"{DESK} -k moves_the_hold"),
    Mutation("a later change is a stranger", "a change belongs to its order, also after one that expired", CHECKS,
             "        family = await self._family_of(request)\n        if not",
             "        family = request.decision_id\n        if not",
             f"{DESK} -k changes_its_order"),
    Mutation("what was consumed stays behind", "a changed order keeps what was posted and seen before", BOOK,
             "                return [kept.held]\n", "                return []\n", f"{DESK} -k partly_in_sap"),
    Mutation("what was posted stays behind", "postings come along when a changed order takes over", TRANSITIONS,
             "    return _settled(replace(stands, postings=stands.postings + brought), None) if brought else step",
             "    return step", LIFE),
    Mutation("decision not bound to its order", "one decision serves one order", TRANSITIONS,
             "        return _used_twice(hold, order)\n    match hold.state:", "        pass\n    match hold.state:",
             LIFE),
    Mutation("request id not compared", "a request id with other content is refused", CHECKS,
             'if known.values["digest"] != request.digest:', 'if not known.values["digest"]:',
             f"{DESK} -k request_id"),
    Mutation("a repeat decided again", "the same request has one answer", CHECKS,
             "        if not await self._first_time(request):\n", "        if await self._first_time(request) == 2:\n",
             f"{DESK} -k without_asking"),
    Mutation("repeats in one transaction", "a request under way is not asked beside itself", CHECKS,
             "        under_way = queue.asked.get(request.decision_id)\n", "        under_way = None\n",
             f"{DESK} -k same_request"),
    Mutation("nobody ejected", "one request decided elsewhere does not hold up its group", CHECKS,
             "                await self._eject(open_ones, taken.key)", "                raise Conflict(taken.key)",
             f"{DESK} {FAILING}"),
    Mutation("approved without a second look", "an approval weighs the order again", CHECKS,
             '    if verdict.outcome != "approval_required":\n        return verdict\n    return replace(',
             "    return replace(", f"{DESK} -k weighed_again"),
    Mutation("an approval is taken twice", "an approval is conditional on the record it was given for", CHECKS,
             'operations.append(Op("replace", row, one.record_etag) if one.record_etag else',
             'operations.append(Op("upsert", row) if one.record_etag else', f"{DESK} -k while_an_approval_is_weighed"),
    Mutation("currency ignored", "an order is weighed in the segment's currency", DECISION,
             "    value = rates.convert(request.on_account, account.limit.currency if account.limit else currency)\n"
             "    fired", "    value = Money(request.on_account.amount, currency)\n    fired",
             f"{DESK} -k another_currency"),
    Mutation("all of the total held", "only what is on account is held", CHECKS,
             "            amount=request.on_account,\n            value=verdict.value",
             "            amount=request.total,\n            value=verdict.value", f"{DESK} -k on_account"),
    Mutation("paid goes on counting", "what SAP knows as paid is neither owed nor held", NOUNS,
             "            or posting.key in self.cleared\n", "", f"{COUNTED} -k paid_invoice"),
    Mutation("paid is never put away", "what is paid is kept apart from what a check reads", COUNTING,
             'return hold.state == "consumed" and all(posting.key in figure.cleared for posting in hold.postings)',
             "return False", f"{DESK} -k consumed_once_sap_shows"),
    Mutation("a step taken twice", "a message moves a hold once", BOOK,
             "            operations = [*moves, self._evidence(held.hold, outcome, cause, what)]\n",
             "            operations = [*moves]\n", f"{FAILING} {DESK}"),
    Mutation("memory forgotten", "an older figure cannot unsee what was consumed", COUNTING,
             "remembered = hold.closed_at is not None and (lives or hold.closed_at + memory > now)",
             "remembered = False", COUNTED),
    Mutation("forgotten under a change", "what an order became is taken off a change of it that lives", CHECKS,
             "        if is_over and one.hold.family not in living:", "        if is_over:",
             f"{DESK} -k is_paid_meanwhile"),
    Mutation("outage approves", "without SAP nothing is approved but by policy", DECISION,
             '    if down.answer != "approved":\n        answer: Answer = down.answer',
             '    if down.answer != "approved":\n        answer: Answer = "accept"', FAILING),
)  # fmt: skip
"""In the order of the protocol; each text stands exactly once in its file."""

INTRO = (
    "Each row breaks one rule of the credit book in a copy of the source and runs the proof beside it, which has to "
    "fail. A rule whose breaking nobody notices would be a rule that nobody keeps."
)


def test_each_mutation_still_finds_its_text() -> None:
    for mutation in MUTATIONS:
        mutated(mutation, (ROOT / mutation.file).read_text(encoding="utf-8"))


def test_the_document_lists_these_mutations_all_caught() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == as_document(
        "Mutations of the credit book", INTRO, MUTATIONS, len(MUTATIONS)
    )


@pytest.mark.prove
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_caught(mutation: Mutation, tmp_path: Path) -> None:
    assert is_caught(mutation, tmp_path), f"nobody notices: {mutation.breaks}"
