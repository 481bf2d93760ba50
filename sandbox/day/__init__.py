"""A trading day, replayed end to end and accounted for: what `make demo` runs.

How an order of the day is written, beyond the plain Retail Server SalesOrder (the ledger flow reads the same words):

- **Sums.** `TotalAmount` = lines' `TotalAmount` + charges' `CalculatedAmount` and `TaxAmount` = tenders' `Amount`.
  `TaxAmount` holds the taxes of lines and charges, `SubtotalAmountWithoutTax` is the rest. Tax is rounded half up per
  line, in the currency's own decimals. Everything on a return is negative.
- **Charges** stand in `ChargeLines` as `{"ChargeCode", "CalculatedAmount", "TaxAmount"}`; a negative amount is in the
  customer's favour. Codes: FREIGHT and POSTAGE (carriage billed), BANKCHARGE (a bank's fee passed on), MARKETPLACE (a
  marketplace's commission), DISCOUNT (on the whole order), VOUCHER (a promotion's voucher), ADJUSTMENT (entered by
  hand), SAMPLE (goods given away or charged as samples), ROUNDING (cash rounding).
- **Gift vouchers.** Sold: a SalesLine with `"IsGiftCardLine": true`, untaxed, because it is a debt to the bearer and no
  revenue yet. Redeemed: a tender with `TenderTypeId` "8".
- **Tenders.** "1" cash, "3" card, "4" on the customer's account (credit-checked at checkout), "8" gift voucher.
- **Zero-price lines** stay on the order with every amount 0: goods move, the ledger does not.
- **Returns** are orders of their own with an own number; each line names its original in `ReturnTransactionId` and
  `ReturnLineNumber`, or nothing where the original is not known. A return of charges alone has no lines.
- **Tax code.** `TaxRatePercent` stands on every line and charge; 0 means zero-rated, not exempt.
"""
