"""Bodies too large for the bus, in Blob storage by the digest of their content: written once, read by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from shared.errors import Fault, Malformed, RemoteDown

CONTAINER = "bodies"
_NAME = re.compile(r"[0-9a-f]{64}\.json")


class BlobBodies:
    """Opened on first use, because most days need none."""

    def __init__(self, open_service: Callable[[], BlobServiceClient]) -> None:
        self._open = open_service
        self._service: BlobServiceClient | None = None

    async def put(self, body: bytes) -> str:
        name = f"{hashlib.sha256(body).hexdigest()}.json"
        container = self._connected().get_container_client(CONTAINER)
        try:
            try:
                await container.upload_blob(name, body, overwrite=True)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):  # another worker was first; the upload decides
                    await container.create_container()
                await container.upload_blob(name, body, overwrite=True)
        except AzureError as error:
            raise RemoteDown("Blob storage does not take a body", system="blobs") from error
        return name

    async def get(self, name: str) -> bytes:
        if not _NAME.fullmatch(name):
            raise Malformed([Fault("bodyBlob", "is no name of a body")])
        blob = self._connected().get_blob_client(CONTAINER, name)
        try:
            stream = await blob.download_blob()
            return await stream.readall()
        except ResourceNotFoundError as error:
            raise Malformed([Fault("bodyBlob", f"{name} is not in Blob storage")]) from error
        except (HttpResponseError, AzureError) as error:
            raise RemoteDown("Blob storage does not give a body", system="blobs") from error

    async def close(self) -> None:
        if self._service is not None:
            await self._service.close()

    def _connected(self) -> BlobServiceClient:
        if self._service is None:
            self._service = self._open()
        return self._service
