"""Claims about posting journal entries."""

import pytest

from sandbox.sap.query import hints, parse_filter
from tests.kit.counter import Clock
from tests.sap_simulator.caller import Sap
from tests.sap_simulator.entries import debtor, entry, envelope, fault, item, notes, numbers, tax

CUBE = "API_OPLACCTGDOCITEMCUBE_SRV/A_OperationalAcctgDocItemCube"


async def test_a_balanced_entry_gets_a_document_number_and_can_be_found_by_its_reference(sap: Sap) -> None:
    await sap.account()
    status, confirmation = await sap.post(envelope(entry()))
    assert status == 200
    [number] = numbers(confirmation)
    assert number == "1800000000"
    found = await sap.get(CUBE, filter="CompanyCode eq 'GB01' and DocumentReferenceID eq 'K-1'")
    assert {(r["AccountingDocument"], r["FiscalYear"]) for r in found.results} == {(number, "2027")}
    [document] = (await sap.state())["documents"]
    assert (document["order"], document["reference"], document["kind"]) == ("S-1", "K-1", "invoice")
    assert (document["company_code"], document["currency"], document["gross"]) == ("GB01", "GBP", "120.00")


async def test_the_same_message_sent_twice_is_posted_twice(sap: Sap) -> None:
    await sap.account()
    for _ in range(2):
        await sap.post(envelope(entry()))
    assert [d["document"] for d in (await sap.state())["documents"]] == ["1800000000", "1800000001"]


async def test_each_entry_of_a_bulk_request_stands_for_itself(sap: Sap) -> None:
    await sap.account()
    unbalanced = entry([item("41000000", "-100.00"), debtor("C-1", "120.00")])
    _, confirmation = await sap.post(envelope(entry(), unbalanced))
    assert numbers(confirmation) == ["1800000000", "0000000000"]
    assert len((await sap.state())["documents"]) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (entry([item("41000000", "-100.00"), debtor("C-1", "120.00")]), "Balance in transaction currency GBP"),
        (entry([item("41000000", "-100.00"), debtor("C-9", "100.00")]), "Customer C-9 is not defined in company code"),
        (entry([item("410", "-100.00"), debtor("C-1", "100.00")]), "G/L account 410 is not in the chart"),
        (entry([item("41000000", "-1.001"), debtor("C-1", "1.001")]), "GBP: currency has 2 decimals"),
        (entry([item("41000000", "-1", "XXX"), debtor("C-1", "1", "XXX")]), "Currency XXX is not defined"),
        (entry([item("41000000", "-1.00")]), "fewer than two line items"),
        (entry(CompanyCode="XX01"), "Company code XX01 is not defined"),
        (entry(PostingDate="2019-05-01"), "Posting period 05 2019 is not open in company code GB01"),
        (entry(AccountingDocumentType="XX"), "Document type XX is not defined"),
        (entry(DocumentReferenceID="K" * 17), "DocumentReferenceID is longer than 16 characters"),
        (entry(DocumentHeaderText="T" * 26), "DocumentHeaderText is longer than 25 characters"),
        (entry(Reference1InDocumentHeader="R" * 21), "Reference1InDocumentHeader is longer than 20 characters"),
        (
            entry([item("41000000", "-10.00"), debtor("C-1", "12.00"), tax("ZZ", "-2.00", "-10.00")]),
            "Tax code ZZ is not defined for GB01",
        ),
        (
            entry([item("41000000", "-1.00", more="<DebitCreditCode>S</DebitCreditCode>"), debtor("C-1", "1.00")]),
            "DebitCreditCode S contradicts the sign",
        ),
    ],
)
async def test_a_wrong_entry_is_refused_in_the_log_with_http_200_and_posts_nothing(
    sap: Sap, changed: str, said: str
) -> None:
    await sap.account()
    status, confirmation = await sap.post(envelope(changed))
    assert (status, numbers(confirmation)) == (200, ["0000000000"])
    assert said in notes(confirmation)
    assert [found.text for found in confirmation.iter("MaximumLogItemSeverityCode")] == ["3"]
    assert (await sap.state())["documents"] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<soapenv:Envelope", "XML deserialization error"),
        ("<!DOCTYPE x [<!ENTITY y 'z'>]><x>&y;</x>", "XML deserialization error"),
        ("<x/>", "not a SOAP envelope"),
        (envelope(entry(), root="Unknown"), "No operation"),
        (envelope(), "at least one JournalEntryCreateRequest"),
        (envelope(entry(PostingDate="tomorrow")), "PostingDate is not a date"),
        (envelope(entry(PostingDate="2027-02-30")), "PostingDate is not a date"),
        (envelope(entry(CreatedByUser="")), "CreatedByUser is missing"),
        (envelope(entry(CompanyCode="")), "CompanyCode is missing"),
        (envelope(entry(DocumentReferenceld="K-1")), "DocumentReferenceld is not expected"),
        (envelope(entry([item("41000000", "ten"), debtor("C-1", "10")])), "not a decimal number"),
        (envelope(entry([item("41000000", "١٠"), debtor("C-1", "10")])), "not a decimal number"),
        (envelope(entry([item("41000000", "10.0000000"), debtor("C-1", "10")])), "not a decimal number"),
        (envelope(entry([item("41000000", "10<x/>"), debtor("C-1", "10")])), "holds a value, no elements"),
        (envelope(entry().replace("<Debtor>", "<Debtor>C-2</Debtor><Debtor>")), "Debtor is given more than once"),
        (envelope(entry()).replace("T00:00:00Z", ""), "is not a date and time"),
        ("<?xml version='1.0' encoding='none'?>" + envelope(entry()), "XML deserialization error"),
        (envelope(entry([item("41000000", "1", ""), debtor("C-1", "10")])), "currencyCode"),
    ],
)
async def test_what_cannot_be_read_is_a_soap_fault(sap: Sap, body: str, said: str) -> None:
    await sap.account()
    status, answer = await sap.post(body)
    assert status == 500
    assert said in fault(answer)
    assert (await sap.state())["documents"] == []


@pytest.mark.parametrize(
    ("company_code", "account", "currency", "amounts", "gross"),
    [
        ("JP01", "C-J", "JPY", ("-1000", "1100", "-100"), "1100"),
        ("KW01", "C-K", "KWD", ("-1.001", "1.052", "-0.051"), "1.052"),
    ],
)
async def test_yen_are_whole_and_dinars_have_three_decimals(
    sap: Sap, company_code: str, account: str, currency: str, amounts: tuple[str, str, str], gross: str
) -> None:
    await sap.account(account, legalEntity=company_code, currency=currency)
    net, total, levy = amounts
    code = "J1" if currency == "JPY" else "K1"
    lines = [item("41000000", net, currency), debtor(account, total, currency), tax(code, levy, net, currency)]
    _, confirmation = await sap.post(envelope(entry(lines, CompanyCode=company_code)))
    assert numbers(confirmation) == ["1800000000"], notes(confirmation)
    [document] = (await sap.state())["documents"]
    assert document["gross"] == gross
    found = await sap.get(CUBE, filter=f"Customer eq '{account}'", select="AmountInTransactionCurrency")
    assert [row["AmountInTransactionCurrency"] for row in found.results] == [gross]


async def test_yen_with_a_fraction_are_refused(sap: Sap) -> None:
    await sap.account("C-J", legalEntity="JP01", currency="JPY")
    lines = [item("41000000", "-10.5", "JPY"), debtor("C-J", "10.5", "JPY")]
    _, confirmation = await sap.post(envelope(entry(lines, CompanyCode="JP01")))
    assert "JPY: currency has 0 decimals" in notes(confirmation)


async def test_a_closed_period_and_a_blocked_customer_are_refused_until_opened_again(sap: Sap) -> None:
    await sap.account()
    await sap.control("PUT", "periods/GB01/2027-01", {"open": False})
    assert "is not open" in notes((await sap.post(envelope(entry())))[1])
    await sap.control("PUT", "periods/GB01/2027-01", {"open": True})
    await sap.account(postingBlocked=True)
    assert "is blocked for posting" in notes((await sap.post(envelope(entry())))[1])
    await sap.account(postingBlocked=False)
    assert numbers((await sap.post(envelope(entry())))[1]) == ["1800000000"]


async def test_periods_of_2010_are_open_by_default(sap: Sap) -> None:
    await sap.account()
    _, confirmation = await sap.post(envelope(entry(PostingDate="2010-12-09", DocumentDate="2010-12-09")))
    assert [found.text for found in confirmation.iter("FiscalYear")] == ["2010"]


async def test_an_unknown_buyer_is_posted_on_the_one_time_customer(sap: Sap) -> None:
    _, confirmation = await sap.post(envelope(entry([item("41000000", "-5.00"), debtor("CPDGB01", "5.00")])))
    assert numbers(confirmation) == ["1800000000"]


async def test_a_reversal_mirrors_the_original_and_marks_it_reversed(sap: Sap) -> None:
    await sap.account()
    await sap.post(envelope(entry()))
    reversal = entry([], ReversalReason="01", ReversalReferenceDocument="1800000000GB012027", DocumentReferenceID="K-2")
    assert numbers((await sap.post(envelope(reversal)))[1]) == ["1800000001"]
    original, mirror = (await sap.state())["documents"]
    assert original["reversed"]
    assert (original["gross"], mirror["gross"]) == ("120.00", "-120.00")
    assert (await sap.state())["open_items"] == []
    rows = (await sap.get(CUBE, filter="DocumentReferenceID eq 'K-1'", select="IsReversed,ReverseDocument")).results
    assert {(row["IsReversed"], row["ReverseDocument"]) for row in rows} == {(True, "1800000001")}
    again = notes((await sap.post(envelope(reversal)))[1])
    assert "already reversed" in again


async def test_the_reversal_of_an_unknown_document_is_refused(sap: Sap) -> None:
    reversal = entry([], ReversalReason="01", ReversalReferenceDocument="1800000099GB012027")
    assert "does not exist" in notes((await sap.post(envelope(reversal)))[1])


async def test_customer_lines_become_readable_after_the_exposure_lag_and_ledger_lines_at_once(
    sap: Sap, clock: Clock
) -> None:
    await sap.account()
    await sap.control("PUT", "exposure-lag", {"seconds": 30})
    await sap.post(envelope(entry()))
    customer_lines = {"filter": "Customer eq 'C-1' and IsCleared eq false"}
    assert (await sap.get(CUBE, **customer_lines)).results == []
    assert len((await sap.get(CUBE, filter="DocumentReferenceID eq 'K-1'")).results) == 2
    exposure = {"path": "YY1_CREDITEXPOSUREITEM_CDS/YY1_CreditExposureItem", "filter": "BusinessPartner eq 'C-1'"}
    assert (await sap.get(**exposure)).results == []
    clock.now += 31
    assert [row["AmountInTransactionCurrency"] for row in (await sap.get(CUBE, **customer_lines)).results] == ["120.00"]
    assert [row["ExposureAmount"] for row in (await sap.get(**exposure)).results] == ["120.00"]


async def test_every_ledger_shows_each_line_and_together_they_balance(sap: Sap) -> None:
    await sap.account()
    await sap.post(envelope(entry()))
    path = "API_GLACCOUNTLINEITEM/GLAccountLineItem"
    assert len((await sap.get(path)).results) == 6
    rows = (await sap.get(path, filter="Ledger eq '0L' and AccountingDocument eq '1800000000'")).results
    assert [row["AmountInCompanyCodeCurrency"] for row in rows] == ["-100.00", "120.00", "-20.00"]
    assert [row["GLAccount"] for row in rows] == ["41000000", "12100000", "22000000"]


async def test_amounts_in_a_foreign_currency_balance_in_the_company_code_currency_too(sap: Sap) -> None:
    await sap.account()
    lines = [item("41000000", "-33.33", "EUR"), item("41000000", "-33.33", "EUR"), debtor("C-1", "66.66", "EUR")]
    await sap.post(envelope(entry(lines)))
    [document] = (await sap.state())["documents"]
    cents = [round(float(line["local_amount"]) * 100) for line in document["lines"]]
    assert sum(cents) == 0
    assert {line["local_currency"] for line in document["lines"]} == {"GBP"}


@pytest.mark.parametrize(
    ("condition", "candidates_max"),
    [
        ("CompanyCode eq 'GB01' and DocumentReferenceID eq 'K-7'", 3),
        ("(DocumentReferenceID eq 'K-7' or DocumentReferenceID eq 'K-8') and IsCleared eq false", 6),
        ("AccountingDocument eq '1800000007' and FiscalYear eq '2027'", 3),
        ("Reference1InDocumentHeader eq 'S-7'", 3),
        ("Customer eq 'C-1' and IsCleared eq false and CompanyCode eq 'GB01'", 50),
        ("Customer eq 'C-9'", 0),
    ],
)
async def test_an_equality_on_an_indexed_property_reads_only_its_own_lines(
    sap: Sap, condition: str, candidates_max: int
) -> None:
    await sap.account()
    await sap.post(
        envelope(*(entry(DocumentReferenceID=f"K-{n}", Reference1InDocumentHeader=f"S-{n}") for n in range(50)))
    )
    entity_set = sap.simulator.services["API_OPLACCTGDOCITEMCUBE_SRV"].sets["A_OperationalAcctgDocItemCube"]
    touched = list(entity_set.rows(hints(parse_filter(entity_set.type, condition))))
    assert len(touched) <= candidates_max
    assert len((await sap.get(CUBE, filter=condition)).results) <= candidates_max


async def test_posting_needs_a_logon_but_no_csrf_token(sap: Sap) -> None:
    await sap.account()
    headers = {"Authorization": "Basic QTpC", "Content-Type": "text/xml"}
    async with sap.session.post(
        f"{sap.url}/sap/bc/srt/scs_ext/sap/journalentrycreaterequestconfi", data=envelope(entry()), headers=headers
    ) as answer:
        assert answer.status == 401
    assert (await sap.state())["documents"] == []
