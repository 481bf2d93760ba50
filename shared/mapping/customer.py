"""The customer: a business partner with its credit account in SAP, an account in Dataverse, a customer in Commerce."""

from __future__ import annotations

from shared.mapping.engine import Field, compiled, flag, number

CUSTOMER = compiled(
    "customer",
    (
        Field("name", sap="A_BusinessPartner/BusinessPartnerFullName", dataverse="name", commerce="OrganizationName"),
        Field(
            "credit_limit",
            sap="CreditManagementAccount/CreditLimitAmount",
            dataverse="creditlimit",
            commerce="CreditLimit",
            convert=number,
        ),
        Field(
            "credit_currency",
            sap="CreditManagementAccount/CreditSegmentCurrency",
            dataverse="transactioncurrencyid",
        ),
        Field(
            "credit_blocked",
            sap="CreditManagementAccount/CreditAccountIsBlocked",
            dataverse="creditonhold",
            convert=flag,
        ),
        Field("risk_class", sap="CreditMgmtBusinessPartner/CreditRiskClass", dataverse="concord_riskclass"),
        Field("email", dataverse="emailaddress1", commerce="PrimaryContactEmail"),
        Field("phone", dataverse="telephone1", commerce="PrimaryContactPhone"),
    ),
    dataverse="accounts",
    commerce="CustomersV3",
)
