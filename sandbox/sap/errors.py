"""How SAP says no: OData errors and their JSON body."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from sandbox.kit import exact_json


@dataclass(frozen=True, slots=True)
class Detail:
    """One line of `errordetails`; `property_ref` names the property at fault."""

    code: str
    message: str
    property_ref: str = ""
    severity: str = "error"
    target: str = ""


class SapError(Exception):
    """An OData request is refused: HTTP status, SAP message code (class/number), text, details, further headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Sequence[Detail] = (),
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, tuple(details)
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The JSON error document."""
        details = self.details or (Detail(self.code, self.message),)
        document = {
            "error": {
                "code": self.code,
                "message": {"lang": "en", "value": self.message},
                "innererror": {
                    "transactionid": secrets.token_hex(16).upper(),
                    "timestamp": datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f0"),
                    "errordetails": [
                        {
                            "code": detail.code,
                            "message": detail.message,
                            "propertyref": detail.property_ref,
                            "severity": detail.severity,
                            "target": detail.target,
                        }
                        for detail in details
                    ],
                },
            }
        }
        return exact_json.dumps(document)

    def response(self) -> web.Response:
        """The refusal as an HTTP answer."""
        return web.Response(status=self.status, body=self.body(), content_type="application/json", headers=self.headers)


def bad_property(name: str, message: str, code: str = "/IWCOR/CX_DS_EP_PROPERTY_ERROR") -> SapError:
    """A property is unknown, of the wrong type, or not allowed here (400)."""
    return SapError(400, code, message, [Detail(code, message, property_ref=name, target=name)])


def not_found(message: str) -> SapError:
    """No such resource (404)."""
    return SapError(404, "/IWBEP/CM_MGW_RT/020", message)
