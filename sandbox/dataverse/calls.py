"""One request and its answer, apart from any transport: a $batch carries many of them in one HTTP message."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from sandbox.dataverse.errors import Refused
from sandbox.kit import exact_json

API_PATH: Final = "/api/data/v9.2"
_PREFERENCE: Final = re.compile(r'\s*([\w.\-]+)(?:=(?:"([^"]*)"|([^,;\s]*)))?\s*(?:[,;]|$)')


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A request below /api/data/v9.2/: `path` is decoded, `query` is raw, `origin` is the organization's own url."""

    method: str
    path: str
    query: str
    headers: CIMultiDict[str] | CIMultiDictProxy[str]
    body: bytes
    origin: str

    @property
    def root(self) -> str:
        """The service root, as links are built on it."""
        return f"{self.origin}{API_PATH}"

    @property
    def decimals_as_text(self) -> bool:
        """Whether decimals travel as strings."""
        return "ieee754compatible=true" in self.headers.get("Content-Type", "").lower()

    def preferences(self) -> dict[str, str]:
        """The Prefer headers as name → value."""
        found: dict[str, str] = {}
        for header in self.headers.getall("Prefer", []):
            for name, quoted, plain in _PREFERENCE.findall(header):
                found.setdefault(name.lower(), quoted or plain)
        return found

    def json(self) -> dict[str, object]:
        """The body as a JSON object. Raises Refused (400)."""
        if "json" not in self.headers.get("Content-Type", ""):
            raise Refused(415, "0x80048d1a", "The content type of the request body has to be application/json.")
        try:
            return exact_json.loads_object(self.body)
        except exact_json.NotJson as fault:
            raise Refused(
                400, "0x80048d19", f"Error identified in Payload provided by the user  ----> {fault}"
            ) from fault


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An answer. `body` None is sent as no content at all."""

    status: int
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; odata.metadata=minimal"

    @classmethod
    def of_json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> "ApiAnswer":
        """A JSON answer."""
        return cls(status, exact_json.dumps(value), headers or {})

    @classmethod
    def of_refusal(cls, refused: Refused) -> "ApiAnswer":
        """An error answer."""
        return cls.of_json(refused.body(), refused.status, refused.headers)


def split_url(url: str, origin: str) -> tuple[str, str] | None:
    """(decoded path below the service root, raw query) of an absolute or relative url; None when it lies elsewhere."""
    parts = urlsplit(url)
    if parts.scheme and f"{parts.scheme}://{parts.netloc}".lower() != origin.lower():
        return None
    path = parts.path
    if parts.scheme or path.startswith("/"):
        # A bind value such as /accounts(…) starts at the service root although it looks absolute.
        if path.startswith(f"{API_PATH}/"):
            path = path[len(API_PATH) + 1 :]
        elif path.startswith("/api/") or parts.scheme:
            return None
        else:
            path = path[1:]
    return unquote(path), parts.query
