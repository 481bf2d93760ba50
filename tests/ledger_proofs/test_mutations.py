"""Each sentence of the ledger's protocols, broken on purpose, is noticed by a proof that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import ROOT, Mutation, as_document, is_caught, mutated

DOCUMENT = ROOT / "docs" / "proofs" / "ledger-mutations.md"
STORY = "shared/flows/order_to_ledger.py"
POSTING = "shared/posting.py"
DELIVERY = "shared/delivery.py"
PARKING = "shared/stores/parking.py"
CLAIMS = "shared/stores/claims.py"
RETURNED = "shared/stores/returned.py"
BUS = "shared/messaging.py"
LEDGER = "shared/domain/ledger.py"
RETURNS = "shared/domain/returns.py"
SHIPMENTS = "shared/domain/shipments.py"
CHANGES = "shared/domain/changes.py"
SAP = "shared/clients/sap_ledger.py"
DECIDING = "shared/flows/case_handling.py"
SWEEP = "shared/flows/parked_sweep.py"
PLACING = "shared/placing.py"
ORDERS = "shared/domain/sales_orders.py"
SAP_ORDERS = "shared/clients/sap_orders.py"
STAGING = "shared/reports/staging.py"
BILLING = "shared/reports/explaining/billing.py"
JOIN = "shared/reports/three_way.py"
SEALING = "shared/domain/sealing.py"
RECONCILING = "shared/flows/reconciliation.py"
ONCE = "tests/ledger/test_posting_once.py"
BACK = "tests/ledger/test_returns.py"
PAPERS = "tests/ledger/test_documents.py"
PLACED = "tests/ledger/test_sales_orders.py"
BUILT = "tests/ledger/test_sales_orders_built.py"
BILLED = "tests/reconciliation/test_sales_orders.py"
FAULTS = "tests/ledger_proofs/test_every_fault.py -k one_document_for_each_key"
QUEUE = "tests/delivery/test_delivery.py"
PEOPLE = "tests/cases/test_what_people_do.py"
JOINED = "tests/reconciliation/test_the_join.py"
CALLED_OFF = "tests/ledger/test_cancelled_shipments.py"
SYSTEMS = "tests/reconciliation/test_three_systems.py"
TAMPERED = "tests/reconciliation/test_tampering.py"
CLOSED = "tests/close/test_closing_a_period.py"

MUTATIONS = (
    Mutation(
        "no probe",
        "an attempt that may have landed is looked for before anything is sent",
        POSTING,
        '    if claim is not None and claim.state == "sending":\n        found = await _look(claim, hub, entity)',
        '    if claim is not None and claim.state == "probed":\n        found = await _look(claim, hub, entity)',
        f"{ONCE} -k found_not_repeated",
    ),
    Mutation(
        "settle before send",
        "a claim is settled by a document, never by the intention",
        POSTING,
        '        state="sending",\n        attempt=',
        '        state="settled",\n        attempt=',
        f"{ONCE} -k found_not_repeated",
    ),
    Mutation(
        "sent before claimed",
        "what is sent was written down before it was sent",
        POSTING,
        "    claim = await _claim(frozen, document, claim, dossier, hub, entity, alongside)\n"
        "    sent = await _send(document, claim, hub, entity)\n",
        "    early: Any = await hub.sap_ledger.post(document, hub.policy.ledger.sap, hub.clock())  # type: ignore\n"
        "    claim = await _claim(frozen, document, claim, dossier, hub, entity, alongside)\n"
        "    sent: Any = _posted(early, claim, hub, entity)\n",
        f"{ONCE} -k found_not_repeated",
    ),
    Mutation(
        "lease ignored",
        "nothing is sent again while SAP may still produce the document",
        POSTING,
        "    if left > 0:\n        raise OutcomeUnknown(",
        "    if left > 1e9:\n        raise OutcomeUnknown(",
        f"{ONCE} -k lands_after_the_first_look",
    ),
    Mutation(
        "lease without SAP's runtime",
        "the lease outlives the longest session of SAP",
        POSTING,
        "rules.send_window_seconds + rules.maximum_runtime_seconds + rules.lease_margin_seconds",
        "rules.send_window_seconds + rules.lease_margin_seconds",
        FAULTS,
    ),
    Mutation(
        "a sleeper sends",
        "a worker that slept past its window sends nothing",
        POSTING,
        "    if left <= 0:\n        # This",
        "    if left <= -1e9:\n        # This",
        f"{ONCE} -k slept_past",
    ),
    Mutation(
        "unknown taken for never sent",
        "no answer is no proof that nothing landed",
        POSTING,
        "    except OutcomeUnknown as error:\n        wait",
        "    except OutcomeUnknown as error:\n        await _stand_back(claim, hub)\n        wait",
        f"{ONCE} -k found_not_repeated",
    ),
    Mutation(
        "claim not conditional",
        "of two workers at one claim one sends",
        CLAIMS,
        'return Op("replace", row, self.etag) if self.etag else Op("insert", row)',
        'return Op("upsert", row)',
        f"{ONCE} -k two_workers",
    ),
    Mutation(
        "other content overwrites",
        "one key has one content; other content is a case",
        POSTING,
        'claim.state != "refused" and claim.asked != wanted.asked:',
        'claim.state != "refused" and False:',
        f"{ONCE} -k other_content",
    ),
    Mutation(
        "two documents are one",
        "two documents under one key are a case",
        POSTING,
        "    if len(standing) > 1:",
        "    if len(standing) > 2:",
        f"{ONCE} -k two_documents",
    ),
    Mutation(
        "a reversed document stands",
        "a reversed document is a case, not a posting",
        POSTING,
        "    standing = [hit for hit in hits if not hit.is_reversed]",
        "    standing = list(hits)",
        f"{ONCE} -k reversed",
    ),
    Mutation(
        "sales orders are not looked for",
        "a sales order that may have landed is looked for among sales orders before anything is sent",
        POSTING,
        'look_for_order if claim.way == "sales_order" else _look_for_entry',
        "_look_for_entry if claim.way else look_for_order",
        f"{PLACED} -k found_not_repeated",
    ),
    Mutation(
        "a sales order without its key",
        "the posting key stands where SAP can be asked for it and billing hands it on",
        SAP_ORDERS,
        '        "AccountingDocExternalReference": order.key,\n',
        "",
        f"{PLACED} -k found_not_repeated",
    ),
    Mutation(
        "the way follows the policy",
        "how an attempt went is how the next one goes, whatever policy says by then",
        POSTING,
        "way.name if known is None else known.way",
        "way.name",
        f"{PLACED} -k stays_its_way",
    ),
    Mutation(
        "SAP's amounts accepted",
        "a sales order that SAP computes otherwise is a case and is not billed",
        PLACING,
        "    if not wrong:\n",
        "    if placed.number:\n",
        f"{PLACED} -k computes_otherwise",
    ),
    Mutation(
        "held and billed all the same",
        "what SAP computes otherwise is blocked for billing before a person is asked",
        PLACING,
        "        await _set_block(placed, own_block, hub)\n",
        "        pass\n",
        f"{PLACED} -k computes_otherwise",
    ),
    Mutation(
        "a cent is no difference",
        "also a unit of tax is a difference",
        ORDERS,
        "            if theirs != own.amount:",
        "            if abs(theirs - own.amount) > unit(order.currency):",
        f"{BUILT} -k unit_of_net_or_tax",
    ),
    Mutation(
        "a rejected order stands",
        "a sales order that was rejected in SAP is a case, not a posting",
        PLACING,
        "    standing = [hit for hit in hits if not hit.is_rejected]",
        "    standing = list(hits)",
        f"{PLACED} -k not_the_order_alone",
    ),
    Mutation(
        "another order's key will do",
        "a sales order that names another order is a case",
        PLACING,
        "    if not placed.carries(number):",
        "    if not number:",
        f"{PLACED} -k not_the_order_alone",
    ),
    Mutation(
        "each attempt another request",
        "a repeated request is the same to SAP's Gateway",
        POSTING,
        "Repeatable(claim.key, claim.first_attempted_at)",
        "Repeatable(claim.key, claim.attempted_at)",
        f"{PLACED} -k same_request",
    ),
    Mutation(
        "a corrected order is the refused one",
        "what SAP refused and was corrected is another request",
        POSTING,
        "now if earlier is None else earlier.first_attempted_at",
        "now if known is None else known.first_attempted_at",
        f"{PLACED} -k refusal_that_the_gateway_would_repeat",
    ),
    Mutation(
        "paid sales are billed",
        "a sale that is not wholly on account posts a journal entry",
        ORDERS,
        "    if entry.on_account != entry.total or any(t.amount for t in entry.tenders if t.type != ON_ACCOUNT):",
        "    if entry.total is None:",
        f"{BUILT} -k stays_a_journal_entry",
    ),
    Mutation(
        "a price that rounds",
        "an item's price makes its net amount to the unit",
        ORDERS,
        " and price.net_of(quantity, net.currency) == net.amount:",
        ":",
        f"{BUILT} -k large_quantity",
    ),
    Mutation(
        "an error in a success is a refusal",
        "a sales order that SAP answers with an error and keeps is looked for, not placed again",
        SAP_ORDERS,
        "            if refusal.response.status < 400:",
        "            if refusal.response.status < 200:",
        f"{PLACED} -k hides_in_a_success",
    ),
    Mutation(
        "not covered is sent",
        "an order on account posts only under its credit decision",
        POSTING,
        "    if owed <= Money.zero(owed.currency):\n        return ()",
        "    if owed:\n        return ()",
        f"{ONCE} -k without_its_decision",
    ),
    Mutation(
        "announced once more",
        "a posting is announced with one content",
        POSTING,
        "            id=claim.key,\n            source",
        "            id=f'{claim.key}-{hub.clock()}',\n            source",
        FAULTS,
    ),
    Mutation(
        "not announced",
        "every document is announced to the other flows",
        POSTING,
        "    if not posted.fresh:\n        return\n    claim, entry",
        "    if posted.document:\n        return\n    claim, entry",
        FAULTS,
    ),
    Mutation(
        "key by order number alone",
        "a second return of an order is another posting",
        LEDGER,
        "exact_json.canonical([legal_entity, order, kind, event])",
        "exact_json.canonical([order])",
        f"{BACK} -k partial_returns",
    ),
    Mutation(
        "key without its company",
        "one order number of two companies is two postings",
        LEDGER,
        "exact_json.canonical([legal_entity, order, kind, event])",
        "exact_json.canonical([order, kind, event])",
        f"{PAPERS} -k posting_keys",
    ),
    Mutation(
        "key by joined text",
        "no two different orders have one key",
        LEDGER,
        "hashlib.sha256(exact_json.canonical([legal_entity, order, kind, event]))",
        'hashlib.sha256("".join([legal_entity, order, kind, event]).encode())',
        f"{PAPERS} -k posting_keys",
    ),
    Mutation(
        "a half-known answer posts",
        "a posting is done when a document number came back",
        SAP,
        '    if document.strip("0"):',
        "    if document:",
        f"{ONCE} -k against_a_posting",
    ),
    Mutation(
        "documents of other keys",
        "SAP is asked for this key and no other",
        SAP,
        '("CompanyCode", "eq", company_code), ("DocumentReferenceID", "eq", key)),\n'
        '                "$select": "CompanyCode,FiscalYear,AccountingDocument,AccountingDocumentItem,ReverseDocument"',
        '("CompanyCode", "eq", company_code),),\n'
        '                "$select": "CompanyCode,FiscalYear,AccountingDocument,AccountingDocumentItem,ReverseDocument"',
        FAULTS,
    ),
    Mutation(
        "the tombstone is not read",
        "an order that was cancelled before it came posts nothing",
        STORY,
        "    if cancelled:\n        return",
        "    if not early:\n        return",
        f"{BACK} -k tombstone",
    ),
    Mutation(
        "what came early is lost",
        "what overtook its order is carried out after it",
        STORY,
        "    for event in early:\n        if event.kind",
        "    for event in early[:0]:\n        if event.kind",
        f"{BACK} -k arrives_first",
    ),
    Mutation(
        "returned quantities unconditional",
        "two returns cannot both have the last piece",
        RETURNED,
        'operations.append(Op("replace", row, etag) if etag else Op("insert", row))',
        'operations.append(Op("upsert", row))',
        f"{BACK} -k at_the_same_moment",
    ),
    Mutation(
        "returned quantities not kept",
        "never more goes back than was sold",
        STORY,
        "        if not returned.holds(key, takes):\n            alongside = await",
        "        if not takes:\n            alongside = await",
        f"{BACK} -k more_than_was_sold",
    ),
    Mutation(
        "own taking counted twice",
        "a return that is tried again takes once",
        RETURNED,
        "                if own != key:",
        "                if own:",
        f"{BACK} -k taken_once",
    ),
    Mutation(
        "the last piece by proportion",
        "what is left of a line goes back exactly",
        RETURNS,
        "    if quantity == left:\n"
        "        return Taken(quantity, original.net - before.net, original.tax - before.tax)\n",
        "",
        f"{BACK} -k add_up_to_the_line",
        also=(
            ("(before.quantity + quantity) / original.quantity", "quantity / original.quantity"),
            ("whole.currency) - before\n", "whole.currency)\n"),
        ),
    ),
    Mutation(
        "refunded to the card first",
        "what goes back comes first off what is owed",
        RETURNS,
        "sorted(left, key=lambda one: one != ON_ACCOUNT)",
        "sorted(left, key=lambda one: one == ON_ACCOUNT)",
        f"{BACK} -k first_off_what_is_owed",
    ),
    Mutation(
        "a late change posts",
        "a change after posting is a person's matter",
        STORY,
        "    if digest_of(content_of(entry)) == claim.asked:",
        "    if claim.asked:",
        f"{BACK} -k change_after_posting",
    ),
    Mutation(
        "charges with every part",
        "charges come with the first shipment alone",
        SHIPMENTS,
        "charges=() if shipped else whole.charges",
        "charges=whole.charges",
        f"{BACK} -k posts_its_parts",
    ),
    Mutation(
        "unbalanced is sent",
        "a document that does not balance is a case",
        LEDGER,
        "    if document.balance:\n",
        "    if document.balance is None:\n",
        f"{PAPERS} -k does_not_balance",
    ),
    Mutation(
        "followers not parked",
        "later messages of a parked key wait behind it",
        DELIVERY,
        "    if parked is not None:\n        await _queue(delivery, change, parked, connected)\n        return\n",
        "",
        f"{QUEUE} -k follow_in_order",
    ),
    Mutation(
        "parking skipped",
        "a message that must wait is parked before it is completed",
        DELIVERY,
        "    await connected.records.write(change.business_key, [*extra, *operations])\n",
        "",
        f"{QUEUE} -k must_wait",
    ),
    Mutation(
        "no wake-up",
        "a parked key is woken when it is due",
        DELIVERY,
        "    await _schedule(change, delivery.flow, delivery.topic, due, connected)\n    connected.counters",
        "    connected.counters",
        f"{QUEUE} -k must_wait",
    ),
    Mutation(
        "the queue forgets its order",
        "followers run in the order they came",
        PARKING,
        'return f"0|wait|{flow}|{number:08d}"',
        'return f"0|wait|{flow}|{99999999 - number:08d}"',
        f"{QUEUE} -k follow_in_order",
    ),
    Mutation(
        "the key is freed with followers waiting",
        "a parked key is free only when it is empty",
        PARKING,
        "        if not rest:\n",
        "        if rest is not None:\n",
        f"{QUEUE} -k follow_in_order",
    ),
    Mutation(
        "woken before its time",
        "a wake-up before its time does nothing",
        DELIVERY,
        '        if current.state == "due" and current.due_at > now',
        '        if current.state == "dew" and current.due_at > now',
        f"{QUEUE} -k before_its_time",
    ),
    Mutation(
        "a case runs by itself",
        "what waits for a person waits",
        DELIVERY,
        '        if current.state == "case" and not current.decision and not forced:\n            return\n',
        "",
        f"{QUEUE} -k waits_for_a_person",
    ),
    Mutation(
        "the same message waits twice",
        "a repeat of a waiting message waits already",
        DELIVERY,
        "    if parked.holds(change.message_id):",
        "    if parked.holds(change.message_id + change.key):",
        f"{QUEUE} -k waits_once",
    ),
    Mutation(
        "evidence not conditional",
        "a message that comes again finds that it is done",
        DELIVERY,
        '[*outcome.operations, *extra, Op("insert", lineage)]',
        '[*outcome.operations, *extra, Op("upsert", lineage)]',
        f"{QUEUE} -k delivered_again",
    ),
    Mutation(
        "the crash guard sleeps",
        "a message that kills workers ends as a case",
        DELIVERY,
        "    if delivery.deliveries <= _SUSPECT_DELIVERIES:\n        return []",
        "    if delivery.deliveries:\n        return []",
        f"{QUEUE} -k kills_the_worker",
    ),
    Mutation(
        "an outage counts as a crash",
        "an outage is nobody's fault",
        DELIVERY,
        "    except RemoteDown:\n        await _stand_down(guard, connected)\n        raise\n",
        "    except RemoteDown:\n        raise\n",
        f"{QUEUE} -k counts_as_a_crash",
    ),
    Mutation(
        "an outage parks",
        "a lane waits for a system that is down",
        DELIVERY,
        "    except RemoteDown:\n        await _stand_down(guard, connected)\n        raise\n",
        "",
        f"{QUEUE} -k waits_for_a_system",
    ),
    Mutation(
        "retries without end",
        "retries end in a case and not in silence",
        DELIVERY,
        "            if attempts > connected.policy.messaging.attempts_max:",
        "            if attempts < 0:",
        f"{QUEUE} -k retries_end",
    ),
    Mutation(
        "the sweep looks away",
        "a lost wake-up is made up for",
        SWEEP,
        "parked.due_at + _GRACE <= now:",
        "parked.due_at + _GRACE * 10**6 <= now:",
        f"{QUEUE} -k sweep_wakes",
    ),
    Mutation(
        "a replay runs twice",
        "two who replay one case replay it once",
        DECIDING,
        "            if await _end(case, decision, by, comment, hub):  # whoever ends it wakes the key, once\n",
        "            if await _end(case, decision, by, comment, hub) or parked:\n",
        f"{PEOPLE} -k concurrent_replays",
    ),
    Mutation(
        "replay with the old message id",
        "a wake-up has an id of its own: the bus drops what it knows",
        BUS,
        'await self._message(change, f"wake-{secrets.token_hex(12)}")',
        "await self._message(change, change.message_id)",
        "tests/delivery/test_wake_ups.py",
    ),
    Mutation(
        "retry sent to every subscription",
        "a wake-up is heard by its own flow alone",
        BUS,
        'properties["retryFor"] = flow',
        'properties["retryNote"] = flow',
        FAULTS,
    ),
    Mutation(
        "lanes by message",
        "messages of one key share one lane",
        BUS,
        "session_id=lane_of(change.business_key, self._lanes)",
        "session_id=lane_of(message_id, self._lanes)",
        "tests/ledger_proofs/test_random_faults.py -k lost_doubled_or_out_of_order",
    ),
    Mutation(
        "a penny is nothing",
        "a difference of a penny in SAP is a difference",
        JOIN,
        "OR d.gross <> c.total OR",
        "OR abs(d.gross - c.total) > 0.01 OR",
        f"{JOINED} -k against_commerce",
    ),
    Mutation(
        "a penny of history is nothing",
        "a difference of a penny in CRM is a difference",
        JOIN,
        "OR r.currency <> c.currency OR r.total <> c.total OR",
        "OR r.currency <> c.currency OR",
        f"{JOINED} -k against_commerce",
    ),
    Mutation(
        "a reversed document counts",
        "what was reversed in SAP is not posted",
        JOIN,
        "    FULL JOIN (FROM l WHERE NOT is_reversed) AS d",
        "    FULL JOIN (FROM l) AS d",
        f"{JOINED} -k against_commerce",
    ),
    Mutation(
        "a forged document passes",
        "a document without an order in Commerce is a difference",
        JOIN,
        "CASE WHEN reference IS NOT NULL THEN 'missing_in_commerce' END\n           WHEN reference",
        "NULL\n           WHEN reference",
        f"{JOINED} -k against_commerce",
    ),
    Mutation(
        "duplicates unseen",
        "two documents of one order are a difference",
        JOIN,
        "_REPEATED if with_order > orders else",
        "_REPEATED if with_order > 2 * orders else",
        f"{JOINED} -k against_commerce",
    ),
    Mutation(
        "another month will do",
        "a document of another period is a difference",
        JOIN,
        "               OR d.posting_date < $first OR d.posting_date > $last OR NOT d.is_as_posted\n",
        "               OR NOT d.is_as_posted\n",
        f"{JOINED} -k against_commerce",
    ),
    Mutation(
        "the total is enough",
        "a penny moved inside a document is a difference",
        JOIN,
        " OR NOT d.is_as_posted\n",
        "\n",
        f"{JOINED} -k against_commerce",
    ),
    Mutation(
        "a seal of the total alone",
        "the seal of a document knows its lines",
        SEALING,
        "                for place, amount in sorted(self.amounts.items())\n",
        "                for place, amount in ()\n",
        f"{TAMPERED} -k each_way",
    ),
    Mutation(
        "a cancellation credits what was shipped",
        "a cancellation takes what has not been shipped, and only that",
        STORY,
        'case "order.cancelled" if entity.post_when == "shipment":',
        'case "order.cancelled" if entity.post_when == "delivery":  # type: ignore',
        f"{CALLED_OFF} -k after_a_first",
    ),
    Mutation(
        "a discount is kept",
        "nobody gets back more than was paid",
        RETURNS,
        "        if not everything and charge.amount > zero:\n",
        "        if not everything:\n",
        f"{BACK} -k goes_back_with_the_goods",
    ),
    Mutation(
        "each part is worth all before it",
        "many small parts never come to more than the whole",
        RETURNS,
        "Money.rounded(whole.amount * share, whole.currency) - before\n",
        "Money.rounded(whole.amount * share, whole.currency)\n",
        f"{BACK} -k many_small_returns",
    ),
    Mutation(
        "calling off forgets what left",
        "no more is called off than is left to ship",
        SHIPMENTS,
        "    left = dict(left_of(whole, _shipped(shipped)))\n",
        "    left = dict(left_of(whole, {}))\n",
        f"{CALLED_OFF} -k more_than_is_left",
    ),
    Mutation(
        "nobody notes what stands beside",
        "a return or cancellation that vanished from SAP is missed",
        POSTING,
        "if wanted.is_beside and earlier is None:",
        "if wanted.is_beside and earlier is None and known is not None:",
        f"{SYSTEMS} -k beside",
    ),
    Mutation(
        "billing is not read",
        "a sales order that is billed stands on the ledger",
        STAGING,
        'sorted(types | {billing} - {""})',
        "sorted(types)",
        f"{BILLED} -k matches_three_ways",
    ),
    Mutation(
        "every billing document is ours",
        "billing documents of other sales orders are not reconciled",
        STAGING,
        " or is_posting_key(one.reference)]",
        " or one.reference]",
        f"{BILLED} -k are_not_ours",
    ),
    Mutation(
        "billing may wait for ever",
        "a sales order that is not billed in time is a difference",
        BILLING,
        "    if business_day(hub.clock(), entity) > due:",
        "    if business_day(hub.clock(), entity) < claim.posting_date:",
        f"{BILLED} -k not_billed_in_time",
    ),
    Mutation(
        "closed all the same",
        "a period with anything unexplained is not closed",
        RECONCILING,
        "    if blocking or report.unlisted:",
        "    if report.unlisted:",
        f"{CLOSED} -k unexplained_is_not_closed",
    ),
)
"""In the order of the protocols: posting once, keys, what goes back, lanes and parking, the bus, reconciling."""

INTRO = (
    "Each row breaks one rule of posting, returning, parking or reconciling in a copy of the source and runs the proof "
    "beside it, which has to fail. A rule whose breaking nobody notices would be a rule that nobody keeps."
)


def test_each_mutation_still_finds_its_text() -> None:
    for mutation in MUTATIONS:
        mutated(mutation, (ROOT / mutation.file).read_text(encoding="utf-8"))


def test_the_document_lists_these_mutations_all_caught() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == as_document(
        "Mutations of the ledger", INTRO, MUTATIONS, len(MUTATIONS)
    )


@pytest.mark.prove
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_caught(mutation: Mutation, tmp_path: Path) -> None:
    assert is_caught(mutation, tmp_path), f"nobody notices: {mutation.breaks}"
