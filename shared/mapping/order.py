"""The order and its lines: kept by Commerce, remembered in Dataverse, posted to SAP's ledger.

SAP's side of an order is a document that the ledger rules build; no property of it is copied from here.
"""

from __future__ import annotations

from shared.mapping.engine import Field, compiled, day, moment, number

ORDER = compiled(
    "order",
    (
        Field("key", dataverse="concord_orderkey"),
        Field("number", dataverse="ordernumber", commerce="SalesId"),
        Field("title", dataverse="name"),
        Field("legal_entity", dataverse="concord_legalentity"),
        Field("kind", dataverse="concord_kind"),
        Field("stage", dataverse="concord_stage"),
        Field("channel", dataverse="concord_channel", commerce="ChannelId"),
        Field("customer", dataverse="concord_accountnumber", commerce="CustomerId"),
        Field("currency", dataverse="transactioncurrencyid", commerce="CurrencyCode"),
        Field("placed_at", dataverse="concord_placedon", commerce="OrderPlacedDate", convert=moment),
        Field("business_date", dataverse="concord_businessdate", commerce="BusinessDate", convert=day),
        Field("net", dataverse="totallineitemamount", commerce="SubtotalAmountWithoutTax", convert=number),
        Field("tax", dataverse="totaltax", commerce="TaxAmount", convert=number),
        Field("total", dataverse="totalamount", commerce="TotalAmount", convert=number),
        Field("freight", dataverse="freightamount", convert=number),
        Field("discount", dataverse="discountamount", convert=number),
        Field("original", dataverse="concord_originalorderkey"),
        Field("decision", dataverse="concord_decisionid"),
        Field("documents", dataverse="concord_documents"),
    ),
    dataverse="salesorders",
    commerce="SalesOrders",
)

ORDER_LINE = compiled(
    "order_line",
    (
        Field("key", dataverse="concord_linekey"),
        Field("line_id", dataverse="concord_lineid", commerce="LineId"),
        Field("item", dataverse="concord_itemnumber", commerce="ItemId"),
        Field("title", dataverse="productdescription"),
        Field("sequence", dataverse="lineitemnumber", convert=number),
        Field("quantity", dataverse="quantity", commerce="Quantity", convert=number),
        Field("unit", dataverse="concord_unit", commerce="UnitOfMeasureSymbol"),
        Field("price", dataverse="priceperunit", commerce="Price", convert=number),
        Field("net", dataverse="baseamount", commerce="NetAmount", convert=number),
        Field("tax", dataverse="tax", commerce="TaxAmount", convert=number),
        Field("total", dataverse="extendedamount", commerce="TotalAmount", convert=number),
        Field("original", dataverse="concord_originallinekey", commerce="ReturnTransactionId"),
        Field("shipped", dataverse="quantityshipped", convert=number),
        Field("cancelled", dataverse="quantitycancelled", convert=number),
        Field("returned", dataverse="concord_returnedquantity", convert=number),
    ),
    dataverse="salesorderdetails",
    commerce="SalesLines",
)
