"""Simulated Dynamics 365 Commerce: Retail Server, headquarters, Inventory Visibility and a scale unit extension."""
