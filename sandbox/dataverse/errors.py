"""What Dataverse says when it refuses: one exception, with the codes that callers tell faults apart by."""

from collections.abc import Mapping
from typing import Final

BAD_PAYLOAD: Final = "0x80048d19"
BAD_QUERY: Final = "0x80060888"
BAD_VALUE: Final = "0x80044331"
NOT_FOUND: Final = "0x80040217"
NO_SEGMENT: Final = "0x8006088a"
KEY_NOT_DEFINED: Final = "0x80060890"
KEY_NOT_FOUND: Final = "0x80060891"
KEY_VIOLATED: Final = "0x80060892"
VERSION_MISMATCH: Final = "0x80060882"
DUPLICATE_ROW: Final = "0x80040237"
DUPLICATE_DETECTED: Final = "0x80040333"
DELTA_EXPIRED: Final = "0x80044352"
MALFORMED: Final = "0x80060889"
UNEXPECTED: Final = "0x80040216"


class Refused(Exception):
    """A request is answered with an error: an HTTP status, a Dataverse error code and a message."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self) -> dict[str, object]:
        """The error as Dataverse writes it."""
        return {"error": {"code": self.code, "message": self.message}}


def bad_payload(entity_set: str, reason: str) -> Refused:
    """400: the body of a write does not fit the table."""
    return Refused(
        400, BAD_PAYLOAD, f"Error identified in Payload provided by the user for Entity :'{entity_set}'  ----> {reason}"
    )


def bad_query(reason: str) -> Refused:
    """400: the url asks for something that the table or the query language does not have."""
    return Refused(400, BAD_QUERY, reason)


def no_such_property(name: str, table: str) -> Refused:
    """400: a query names an unknown property."""
    return bad_query(f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table}'.")


def no_such_reference(name: str) -> Refused:
    """400: a $n that no request before it in the change set stands for."""
    return bad_query(f"Content-ID Reference: '{name}' does not exist in the batch context.")


def no_such_row(table: str, row_id: str) -> Refused:
    """404: no row has this id."""
    return Refused(404, NOT_FOUND, f"Entity '{table}' With Id = {row_id} Does Not Exist")


def version_mismatch() -> Refused:
    """412: If-Match names a version that the row no longer has."""
    return Refused(
        412, VERSION_MISMATCH, "The version of the existing record doesn't match the RowVersion property provided."
    )
