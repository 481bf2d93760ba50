"""SAP S/4HANA as its callers see it: OData V2 services, the journal entry SOAP service, and a control surface."""
