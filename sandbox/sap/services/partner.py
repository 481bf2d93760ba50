"""Business partners and customers (API_BUSINESS_PARTNER)."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from sandbox.kit.entities import legal_entities
from sandbox.kit.state import Table
from sandbox.sap.edm import Created, Deep, EntitySet, Hints, Service, Values, entity_type, service, to_many, to_one
from sandbox.sap.errors import SapError, bad_property
from sandbox.sap.services.reading import wanted
from sandbox.sap.world import World

_PARTNER: Final = entity_type(
    "A_BusinessPartnerType",
    """BusinessPartner 10 key, Customer 10 ro, Supplier 10 ro, AcademicTitle 4, AuthorizationGroup 4,
    BusinessPartnerCategory 1, BusinessPartnerFullName 81 ro, BusinessPartnerGrouping 4,
    BusinessPartnerName 81 ro, BusinessPartnerUUID guid ro, CorrespondenceLanguage 2, CreatedByUser 12 ro,
    CreationDate date ro, CreationTime time ro, FirstName 40, FormOfAddress 4, Industry 10, IsFemale bool,
    IsMale bool, IsNaturalPerson 1, Language 2, LastChangeDate date ro, LastChangeTime time ro,
    LastChangedByUser 12 ro, LastName 40, LegalForm 2, OrganizationBPName1 40, OrganizationBPName2 40,
    OrganizationBPName3 40, OrganizationBPName4 40, OrganizationFoundationDate date, SearchTerm1 20,
    SearchTerm2 20, BirthDate date, BusinessPartnerIsBlocked bool, BusinessPartnerType 4, ETag 26 ro etag,
    MiddleName 40, PersonNumber 10 ro, IsMarkedForArchiving bool, BusinessPartnerIDByExtSystem 20,
    TradingPartner 6""",
    to_one("to_Customer", "A_Customer", "Customer"),
)
_CUSTOMER: Final = entity_type(
    "A_CustomerType",
    """Customer 10 key, AuthorizationGroup 4, BillingIsBlockedForCustomer 2, CreatedByUser 12 ro,
    CreationDate date ro, CustomerAccountGroup 4, CustomerClassification 2, CustomerFullName 220 ro,
    BPCustomerFullName 220 ro, CustomerName 80 ro, BPCustomerName 81 ro, DeliveryIsBlocked 2,
    OrderIsBlockedForCustomer 2, PostingIsBlocked bool, Supplier 10, CustomerCorporateGroup 10,
    FiscalAddress 10, NielsenRegion 2, VATRegistration 20, DeletionIndicator bool, CityCode 4, County 3""",
    to_many("to_CustomerCompany", "A_CustomerCompany", "Customer"),
    to_many("to_CustomerSalesArea", "A_CustomerSalesArea", "Customer"),
)
_COMPANY: Final = entity_type(
    "A_CustomerCompanyType",
    """Customer 10 key, CompanyCode 4 key, APARToleranceGroup 4, AccountByCustomer 12, AccountingClerk 2,
    AlternativePayerAccount 10, AuthorizationGroup 4, CustomerAccountNote 30, CustomerHeadOffice 10,
    HouseBank 5, LayoutSortingRule 3, PaymentBlockingReason 1, PaymentMethodsList 10, PaymentReason 4,
    PaymentTerms 4, ReconciliationAccount 10, UserAtCustomer 15, DeletionIndicator bool, CustomerAccountGroup 4""",
)
_SALES_AREA: Final = entity_type(
    "A_CustomerSalesAreaType",
    """Customer 10 key, SalesOrganization 4 key, DistributionChannel 2 key, Division 2 key, AccountByCustomer 12,
    AuthorizationGroup 4, BillingIsBlockedForCustomer 2, CompleteDeliveryIsDefined bool, CreditControlArea 4,
    Currency 5, CustomerABCClassification 2, CustomerAccountAssignmentGroup 2, CustomerGroup 2,
    CustomerPaymentTerms 4, CustomerPriceGroup 2, CustomerPricingProcedure 2, DeliveryIsBlockedForCustomer 2,
    DeliveryPriority 2, IncotermsClassification 3, IncotermsLocation1 70, DeletionIndicator bool,
    OrderCombinationIsAllowed bool, OrderIsBlockedForCustomer 2, PriceListType 2, SalesGroup 3, SalesOffice 4,
    ShippingCondition 2, SupplyingPlant 4, SalesDistrict 6, CustomerAccountGroup 4""",
)


def partner_service(world: World) -> Service:
    """API_BUSINESS_PARTNER."""

    def by_key(table: Table[str, Values], name: str) -> Callable[[Hints], Iterable[Values]]:
        def rows(hints: Hints) -> Iterable[Values]:
            asked = wanted(hints, name)
            if asked is None:
                return table.values()
            return (row for key in sorted(asked) if (row := table.get(key)) is not None)

        return rows

    def by_customer(table: Table[Any, Values]) -> Callable[[Hints], Iterable[Values]]:
        def rows(hints: Hints) -> Iterable[Values]:
            asked = wanted(hints, "Customer")
            if asked is None:
                return table.values()
            return (row for customer in sorted(asked) for row in table.find("customer", customer))

        return rows

    def create_partner(deep: Deep) -> Created:
        given = deep.values
        account = str(given.get("BusinessPartner") or world.number("partner", 1_000_000_000))
        if account in world.partners:
            raise SapError(400, "R11/124", f"Business partner {account} already exists")
        name = str(given.get("OrganizationBPName1") or given.get("LastName") or "")
        if not name:
            raise bad_property("OrganizationBPName1", "Enter a name for the organization", "R11/401")
        world.create_customer(account, next(iter(legal_entities().values())), name)
        row = world.partners.get(account)
        assert row is not None
        world.partners.put(account, {**row, **given, "BusinessPartner": account})
        world.emit("businesspartner.v1.BusinessPartner.Created.v1", {"BusinessPartner": account})
        return Created(world.partners.get(account))

    def update_partner(row: Values, changes: Values) -> None:
        account = str(row["BusinessPartner"])
        changed = {**row, **changes}
        if name := changes.get("OrganizationBPName1"):
            changed |= {"BusinessPartnerFullName": name, "BusinessPartnerName": name}
            customer = world.customers.get(account)
            if customer is not None:
                world.customers.put(account, {**customer, "CustomerName": name, "CustomerFullName": name})
        world.partners.put(account, changed)
        world.partner_changed(account)

    def update_customer(row: Values, changes: Values) -> None:
        world.customers.put(str(row["Customer"]), {**row, **changes})
        world.partner_changed(str(row["Customer"]))

    def update_company(row: Values, changes: Values) -> None:
        world.customer_companies.put((str(row["Customer"]), str(row["CompanyCode"])), {**row, **changes})
        world.partner_changed(str(row["Customer"]))

    def update_area(row: Values, changes: Values) -> None:
        area = [str(row[name]) for name in ("Customer", "SalesOrganization", "DistributionChannel", "Division")]
        world.sales_areas.put((area[0], area[1], area[2], area[3]), {**row, **changes})
        world.partner_changed(area[0])

    return service(
        "API_BUSINESS_PARTNER",
        [
            EntitySet(
                "A_BusinessPartner",
                _PARTNER,
                by_key(world.partners, "BusinessPartner"),
                create=create_partner,
                update=update_partner,
            ),
            EntitySet("A_Customer", _CUSTOMER, by_key(world.customers, "Customer"), update=update_customer),
            EntitySet("A_CustomerCompany", _COMPANY, by_customer(world.customer_companies), update=update_company),
            EntitySet("A_CustomerSalesArea", _SALES_AREA, by_customer(world.sales_areas), update=update_area),
        ],
    )
