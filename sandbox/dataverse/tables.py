"""The tables this organization has: standard ones an order history needs, and the solution's own `concord_` ones."""

from collections.abc import Mapping
from typing import Final

from sandbox.dataverse.model import MONEY_DECIMALS, Column, Kind, Table, Target

_ACTIVE: Final = ((0, "Active"), (1, "Inactive"))
_ORDER_STATES: Final = ((0, "Active"), (1, "Submitted"), (2, "Canceled"), (3, "Fulfilled"), (4, "Invoiced"))
_ORDER_STATUSES: Final = (
    (1, "New"), (2, "Pending"), (3, "In Progress"), (4, "No Money"),
    (100001, "Complete"), (100002, "Partial"), (100003, "Invoiced"),
)  # fmt: skip
_ORDER_STATUS_STATES: Final = ((1, 0), (2, 0), (3, 1), (4, 2), (100001, 3), (100002, 3), (100003, 4))


def _text(name: str, length: int, schema: str = "") -> Column:
    return Column(name, Kind.STRING, schema or _schema(name), max_length=length)


def _memo(name: str, length: int = 2000, schema: str = "") -> Column:
    return Column(name, Kind.MEMO, schema or _schema(name), max_length=length)


def _whole(name: str, minimum: int = -(2**31), maximum: int = 2**31 - 1) -> Column:
    return Column(name, Kind.INTEGER, _schema(name), minimum=minimum, maximum=maximum)


def _money(name: str, schema: str = "", *, negative: bool = True) -> Column:
    """Money between -922,337,203,685,477 and as much above, with 4 decimals; `negative` False starts at 0."""
    most = 922_337_203_685_477
    return Column(name, Kind.MONEY, schema or _schema(name), decimals=MONEY_DECIMALS, minimum=-most if negative else 0,
                  maximum=most)  # fmt: skip


def _decimal(name: str, decimals: int, schema: str = "") -> Column:
    return Column(name, Kind.DECIMAL, schema or _schema(name), decimals=decimals, minimum=-(10**11), maximum=10**11)


def _flag(name: str, schema: str = "") -> Column:
    return Column(name, Kind.BOOLEAN, schema or _schema(name), options=((0, "No"), (1, "Yes")))


def _choice(name: str, *options: tuple[int, str]) -> Column:
    return Column(name, Kind.PICKLIST, _schema(name), options=options)


def _instant(name: str, schema: str = "") -> Column:
    return Column(name, Kind.DATETIME, schema or _schema(name))


def _day(name: str, schema: str = "") -> Column:
    return Column(name, Kind.DATE, schema or _schema(name))


def _lookup(name: str, *targets: tuple[str, str], schema: str = "") -> Column:
    pointing = tuple(Target(navigation, table) for navigation, table in targets)
    return Column(name, Kind.LOOKUP, schema or _schema(name), targets=pointing)


def _schema(name: str) -> str:
    prefix, underscore, rest = name.partition("_")
    return f"{prefix}_{rest[:1].upper()}{rest[1:]}" if underscore else f"{name[:1].upper()}{name[1:]}"


def _address(prefix: str) -> tuple[Column, ...]:
    return (
        _text(f"{prefix}_line1", 250), _text(f"{prefix}_line2", 250), _text(f"{prefix}_city", 80),
        _text(f"{prefix}_stateorprovince", 50), _text(f"{prefix}_postalcode", 20), _text(f"{prefix}_country", 80),
    )  # fmt: skip


def _table(
    name: str,
    entity_set: str,
    *columns: Column,
    name_column: str = "name",
    schema: str = "",
    keys: tuple[tuple[str, ...], ...] = (),
    collections: Mapping[str, tuple[str, str]] | None = None,
    states: tuple[tuple[int, str], ...] = _ACTIVE,
    statuses: tuple[tuple[int, str], ...] = ((1, "Active"), (2, "Inactive")),
    status_states: tuple[tuple[int, int], ...] = ((1, 0), (2, 1)),
    object_type_code: int = 10_000,
    seeded: bool = False,
) -> Table:
    """A table with the columns every table has added. Money brings the currency, the rate and a `_base` twin along."""
    id_column = f"{name}id"
    every: list[Column] = [Column(id_column, Kind.GUID, _schema(id_column)), *columns]
    money = [column for column in columns if column.kind is Kind.MONEY]
    if money and not any(column.name == "transactioncurrencyid" for column in columns):
        every.append(_lookup("transactioncurrencyid", ("transactioncurrencyid", "transactioncurrency")))
    if money:
        every.append(Column("exchangerate", Kind.DECIMAL, "ExchangeRate", decimals=12, maximum=10**11, writable=False))
    every += [
        Column(f"{column.name}_base", Kind.MONEY, f"{column.schema}_Base", decimals=MONEY_DECIMALS,
               minimum=column.minimum, maximum=column.maximum, writable=False)
        for column in money
    ]  # fmt: skip
    every += [
        Column("statecode", Kind.STATE, "statecode", options=states),
        Column("statuscode", Kind.STATUS, "statuscode", options=statuses, states=status_states),
        Column("createdon", Kind.DATETIME, "CreatedOn", writable=False),
        Column("modifiedon", Kind.DATETIME, "ModifiedOn", writable=False),
        Column("createdby", Kind.LOOKUP, "CreatedBy", targets=(Target("createdby", "systemuser"),), writable=False),
        Column("modifiedby", Kind.LOOKUP, "ModifiedBy", targets=(Target("modifiedby", "systemuser"),), writable=False),
        Column("versionnumber", Kind.BIGINT, "VersionNumber", writable=False),
    ]
    return Table(
        name=name, entity_set=entity_set, schema=schema or _schema(name), id_column=id_column, name_column=name_column,
        columns={column.name: column for column in every}, keys=keys, collections=collections or {},
        object_type_code=object_type_code, seeded=seeded,
    )  # fmt: skip


_TABLES: Final = (
    _table(
        "account", "accounts",
        _text("name", 160), _text("accountnumber", 20, "AccountNumber"), _text("emailaddress1", 100, "EMailAddress1"),
        _text("telephone1", 50), _text("fax", 50), _text("websiteurl", 200, "WebSiteURL"), _memo("description"),
        _money("creditlimit", "CreditLimit", negative=False), _flag("creditonhold", "CreditOnHold"), _money("revenue"),
        _whole("numberofemployees", 0, 10**9), _text("sic", 20, "SIC"),
        _choice("customertypecode", (1, "Competitor"), (3, "Customer"), (8, "Prospect"), (10, "Supplier"),
                (12, "Other")),
        _choice("paymenttermscode", (1, "Net 30"), (2, "2% 10, Net 30"), (3, "Net 45"), (4, "Net 60")),
        _lookup("primarycontactid", ("primarycontactid", "contact"), schema="PrimaryContactId"),
        _lookup("parentaccountid", ("parentaccountid", "account"), schema="ParentAccountId"),
        *_address("address1"), *_address("address2"),
        _text("concord_legalentity", 10), _text("concord_riskclass", 10), _text("concord_businesspartner", 20),
        _money("concord_exposure"), _money("concord_creditavailable"), _text("concord_paymentterms", 20),
        _text("concord_taxnumber", 40), _text("concord_creditsegment", 20), _instant("concord_creditason"),
        keys=(("accountnumber",),), object_type_code=1,
        collections={"order_customer_accounts": ("salesorder", "customerid"),
                     "contact_customer_accounts": ("contact", "parentcustomerid")},
    ),
    _table(
        "contact", "contacts",
        _text("firstname", 50, "FirstName"), _text("lastname", 50, "LastName"),
        Column("fullname", Kind.STRING, "FullName", max_length=160, writable=False),
        _text("emailaddress1", 100, "EMailAddress1"), _text("telephone1", 50), _text("mobilephone", 50, "MobilePhone"),
        _text("jobtitle", 100, "JobTitle"), _memo("description"), _flag("donotemail", "DoNotEMail"),
        _lookup("parentcustomerid", ("parentcustomerid_account", "account"), ("parentcustomerid_contact", "contact"),
                schema="ParentCustomerId"),
        *_address("address1"), _text("concord_contactnumber", 40),
        name_column="fullname", object_type_code=2,
    ),
    _table(
        "product", "products",
        _text("name", 100), _text("productnumber", 100, "ProductNumber"), _memo("description"), _money("price"),
        _money("standardcost", "StandardCost"), _money("currentcost", "CurrentCost"),
        _whole("quantitydecimal", 0, 5), _decimal("quantityonhand", 5, "QuantityOnHand"),
        _choice("productstructure", (1, "Product"), (2, "Product Family"), (3, "Product Bundle")),
        _lookup("defaultuomid", ("defaultuomid", "uom"), schema="DefaultUoMId"), _text("suppliername", 100),
        keys=(("productnumber",),), object_type_code=1024,
        states=((0, "Active"), (1, "Retired"), (2, "Draft"), (3, "Under Revision")),
        statuses=((1, "Active"), (2, "Retired"), (0, "Draft"), (3, "Under Revision")),
        status_states=((1, 0), (2, 1), (0, 2), (3, 3)),
    ),
    _table(
        "salesorder", "salesorders",
        _text("name", 300), _text("ordernumber", 100, "OrderNumber"), _memo("description"),
        _lookup("customerid", ("customerid_account", "account"), ("customerid_contact", "contact"),
                schema="CustomerId"),
        _lookup("pricelevelid", ("pricelevelid", "pricelevel"), schema="PriceLevelId"),
        _flag("ispricelocked", "IsPriceLocked"),
        _choice("skippricecalculation", (0, "DoPriceCalcAlways"), (1, "SkipPriceCalcOnRetrieve")),
        _day("submitdate", "SubmitDate"), _day("datefulfilled", "DateFulfilled"),
        _day("requestdeliveryby", "RequestDeliveryBy"), _choice("prioritycode", (1, "Default Value")),
        _money("totalamount", "TotalAmount"), _money("totallineitemamount", "TotalLineItemAmount"),
        _money("totaltax", "TotalTax"), _money("freightamount", "FreightAmount"),
        _money("discountamount", "DiscountAmount"), _money("totaldiscountamount", "TotalDiscountAmount"),
        _money("totalamountlessfreight", "TotalAmountLessFreight"),
        _lookup("transactioncurrencyid", ("transactioncurrencyid", "transactioncurrency"),
                schema="TransactionCurrencyId"),
        *_address("billto"), *_address("shipto"), _text("shipto_name", 200), _text("billto_name", 200),
        _text("concord_orderkey", 100), _text("concord_legalentity", 10), _text("concord_kind", 40),
        _memo("concord_documents", 4000), _text("concord_channel", 60), _text("concord_originalorderkey", 100),
        _text("concord_receipt", 60), _text("concord_decisionid", 200), _instant("concord_placedon"),
        _day("concord_businessdate"), _text("concord_store", 60), _text("concord_paymentkind", 40),
        _text("concord_accountnumber", 20), _text("concord_correlationid", 100), _text("concord_stage", 40),
        keys=(("concord_orderkey",),), object_type_code=1088,
        states=_ORDER_STATES, statuses=_ORDER_STATUSES, status_states=_ORDER_STATUS_STATES,
        collections={"order_details": ("salesorderdetail", "salesorderid")},
    ),
    _table(
        "salesorderdetail", "salesorderdetails",
        _text("salesorderdetailname", 100, "SalesOrderDetailName"),
        _lookup("salesorderid", ("salesorderid", "salesorder"), schema="SalesOrderId"),
        _lookup("productid", ("productid", "product"), schema="ProductId"),
        _lookup("uomid", ("uomid", "uom"), schema="UoMId"),
        _decimal("quantity", 5), _decimal("quantityshipped", 5, "QuantityShipped"),
        _decimal("quantitycancelled", 5, "QuantityCancelled"),
        _money("priceperunit", "PricePerUnit"), _money("extendedamount", "ExtendedAmount"),
        _money("baseamount", "BaseAmount"), _money("manualdiscountamount", "ManualDiscountAmount"), _money("tax"),
        _whole("sequencenumber", 0, 10**9), _whole("lineitemnumber", 0, 10**9),
        _flag("ispriceoverridden", "IsPriceOverridden"), _flag("isproductoverridden", "IsProductOverridden"),
        _text("productdescription", 500, "ProductDescription"), _memo("description"),
        _choice("skippricecalculation", (0, "DoPriceCalcAlways"), (1, "SkipPriceCalcOnRetrieve")),
        _lookup("transactioncurrencyid", ("transactioncurrencyid", "transactioncurrency"),
                schema="TransactionCurrencyId"),
        _day("requestdeliveryby", "RequestDeliveryBy"),
        _text("concord_linekey", 160), _text("concord_itemnumber", 60), _text("concord_unit", 20),
        _text("concord_originallinekey", 160), _decimal("concord_returnedquantity", 5), _text("concord_lineid", 60),
        name_column="salesorderdetailname", keys=(("concord_linekey",),), object_type_code=1089,
    ),
    _table(
        "transactioncurrency", "transactioncurrencies",
        _text("currencyname", 100, "CurrencyName"), _text("isocurrencycode", 5, "ISOCurrencyCode"),
        _text("currencysymbol", 13, "CurrencySymbol"), _whole("currencyprecision", 0, 4), _decimal("exchangerate", 12),
        name_column="currencyname", schema="TransactionCurrency", object_type_code=9105, seeded=True,
    ),
    _table("pricelevel", "pricelevels", _text("name", 100), _day("begindate"), _day("enddate"), schema="PriceLevel",
           object_type_code=1022),
    _table("uom", "uoms", _text("name", 100), _decimal("quantity", 5), schema="UoM", object_type_code=1055,
           seeded=True),
    _table(
        "systemuser", "systemusers",
        _text("fullname", 200, "FullName"), _text("internalemailaddress", 100, "InternalEMailAddress"),
        Column("azureactivedirectoryobjectid", Kind.GUID, "AzureActiveDirectoryObjectId"),
        Column("applicationid", Kind.GUID, "ApplicationId"), _text("domainname", 1024, "DomainName"),
        name_column="fullname", schema="SystemUser", object_type_code=8, seeded=True,
    ),
    _table(
        "concord_creditapproval", "concord_creditapprovals",
        _text("concord_name", 200), _text("concord_decisionid", 200), _money("concord_amount"),
        _text("concord_currency", 5), _text("concord_state", 50), _memo("concord_comment", 4000),
        _text("concord_decidedby", 200), _text("concord_requestedby", 200), _text("concord_legalentity", 10),
        _text("concord_accountnumber", 20), _memo("concord_reasons", 4000), _instant("concord_decidedon"),
        _text("concord_correlationid", 100), _text("concord_orderkey", 100), _text("concord_requestid", 200),
        _lookup("concord_account", ("concord_Account", "account")),
        name_column="concord_name", keys=(("concord_decisionid",),), object_type_code=10_101,
    ),
    _table(
        "concord_signal", "concord_signals",
        _text("concord_name", 200), _text("concord_signalkey", 200), _text("concord_kind", 60),
        _text("concord_orderkey", 100), _text("concord_accountnumber", 20), _text("concord_legalentity", 10),
        _instant("concord_occurredon"), _memo("concord_details", 10_000), _money("concord_amount"),
        _text("concord_currency", 5), _text("concord_correlationid", 100),
        _lookup("concord_account", ("concord_Account", "account")),
        _lookup("concord_order", ("concord_Order", "salesorder")),
        name_column="concord_name", keys=(("concord_signalkey",),), object_type_code=10_102,
    ),
    _table("sdkmessage", "sdkmessages", _text("name", 256), schema="SdkMessage", object_type_code=4606, seeded=True),
    _table(
        "sdkmessagefilter", "sdkmessagefilters",
        _text("name", 256), _text("primaryobjecttypecode", 64, "PrimaryObjectTypeCode"),
        _lookup("sdkmessageid", ("sdkmessageid", "sdkmessage"), schema="SdkMessageId"),
        schema="SdkMessageFilter", object_type_code=4607, seeded=True,
    ),
    _table(
        "serviceendpoint", "serviceendpoints",
        _text("name", 250), _memo("description"), _text("url", 2000), _text("authvalue", 2048, "AuthValue"),
        _choice("contract", (1, "OneWay"), (2, "Queue"), (3, "Rest"), (4, "TwoWay"), (5, "Topic"),
                (6, "Queue (Persistent)"), (7, "Event Hub"), (8, "Webhook"), (9, "Event Grid")),
        _choice("authtype", (1, "ACS"), (2, "SASKey"), (3, "SASToken"), (4, "WebhookKey"), (5, "HttpHeader"),
                (6, "HttpQueryString")),
        _choice("messageformat", (1, "BinaryXML"), (2, "Json"), (3, "TextXML")),
        _choice("connectionmode", (1, "Normal"), (2, "Federated")),
        _choice("userclaim", (1, "None"), (2, "UserId")),
        schema="ServiceEndpoint", object_type_code=4618,
    ),
    _table(
        "sdkmessageprocessingstep", "sdkmessageprocessingsteps",
        _text("name", 256), _memo("description"), _whole("rank", 0, 2**31 - 1), _memo("configuration", 1_073_741_823),
        _memo("filteringattributes", 100_000, "FilteringAttributes"), _flag("asyncautodelete", "AsyncAutoDelete"),
        _choice("mode", (0, "Synchronous"), (1, "Asynchronous")),
        _choice("stage", (5, "Initial Pre-operation"), (10, "Pre-validation"), (20, "Pre-operation"),
                (30, "Main Operation"), (40, "Post-operation")),
        _choice("supporteddeployment", (0, "Server Only"), (1, "Outlook Client Only"), (2, "Both")),
        _choice("invocationsource", (-1, "Internal"), (0, "Parent"), (1, "Child")),
        _lookup("sdkmessageid", ("sdkmessageid", "sdkmessage"), schema="SdkMessageId"),
        _lookup("sdkmessagefilterid", ("sdkmessagefilterid", "sdkmessagefilter"), schema="SdkMessageFilterId"),
        _lookup("eventhandler", ("eventhandler_serviceendpoint", "serviceendpoint"), schema="EventHandler"),
        schema="SdkMessageProcessingStep", object_type_code=4608,
        states=((0, "Enabled"), (1, "Disabled")), statuses=((1, "Enabled"), (2, "Disabled")),
    ),
    _table(
        "sdkmessageprocessingstepimage", "sdkmessageprocessingstepimages",
        _text("name", 256), _text("entityalias", 256, "EntityAlias"), _memo("attributes", 100_000),
        _text("messagepropertyname", 256, "MessagePropertyName"),
        _choice("imagetype", (0, "PreImage"), (1, "PostImage"), (2, "Both")),
        _lookup("sdkmessageprocessingstepid", ("sdkmessageprocessingstepid", "sdkmessageprocessingstep"),
                schema="SdkMessageProcessingStepId"),
        schema="SdkMessageProcessingStepImage", object_type_code=4615,
    ),
)  # fmt: skip

TABLES: Final[Mapping[str, Table]] = {table.name: table for table in _TABLES}
BY_ENTITY_SET: Final[Mapping[str, Table]] = {table.entity_set: table for table in _TABLES}
