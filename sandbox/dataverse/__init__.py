"""A strict stand-in for Dataverse: Web API v9.2 over one table model, service protection limits, and true webhooks."""
