"""What the services' reads have in common."""

from sandbox.sap.edm import Hints


def wanted(hints: Hints, name: str) -> frozenset[str] | None:
    """The texts that a property must be one of, or None where the read does not say."""
    values = hints.get(name)
    return None if values is None else frozenset(value for value in values if isinstance(value, str))
