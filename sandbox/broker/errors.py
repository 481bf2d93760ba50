"""What the broker refuses, in the words of Service Bus: one exception, carrying the error condition a client maps."""

from typing import Final

NOT_FOUND: Final = "amqp:not-found"
NOT_ALLOWED: Final = "amqp:not-allowed"
NOT_IMPLEMENTED: Final = "amqp:not-implemented"
DECODE_ERROR: Final = "amqp:decode-error"
INVALID_FIELD: Final = "amqp:invalid-field"
UNAUTHORIZED: Final = "amqp:unauthorized-access"
CONNECTION_FORCED: Final = "amqp:connection:forced"
FRAMING_ERROR: Final = "amqp:connection:framing-error"
UNATTACHED_HANDLE: Final = "amqp:session:unattached-handle"
HANDLE_IN_USE: Final = "amqp:session:handle-in-use"
MESSAGE_SIZE_EXCEEDED: Final = "amqp:link:message-size-exceeded"
MESSAGE_LOCK_LOST: Final = "com.microsoft:message-lock-lost"
MESSAGE_NOT_FOUND: Final = "com.microsoft:message-not-found"
SESSION_LOCK_LOST: Final = "com.microsoft:session-lock-lost"
SESSION_CANNOT_BE_LOCKED: Final = "com.microsoft:session-cannot-be-locked"
TIMEOUT: Final = "com.microsoft:timeout"
ARGUMENT_ERROR: Final = "com.microsoft:argument-error"

_STATUS_CODES: Final = {
    NOT_FOUND: 404,
    MESSAGE_NOT_FOUND: 404,
    MESSAGE_LOCK_LOST: 410,
    SESSION_LOCK_LOST: 410,
    SESSION_CANNOT_BE_LOCKED: 410,
    TIMEOUT: 408,
    NOT_IMPLEMENTED: 501,
    UNAUTHORIZED: 401,
    NOT_ALLOWED: 403,
    MESSAGE_SIZE_EXCEEDED: 403,
}


class BrokerError(Exception):
    """A request the broker refuses; `condition` is the AMQP error condition, `description` is for people."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description

    @property
    def status_code(self) -> int:
        """The status a management response carries for this error."""
        return _STATUS_CODES.get(self.condition, 400)
