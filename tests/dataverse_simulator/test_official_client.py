"""Microsoft's own Python client works against the simulated organization as it is, over TLS as it insists."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError
from PowerPlatform.Dataverse.models.upsert import UpsertItem

from sandbox.dataverse.simulator import Dataverse
from sandbox.kit.simulator import Settings, running
from sandbox.kit.tokens import sign

SECRET = "of-these-tests"


class Credential:
    """An Azure credential whose tokens the simulator accepts."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        """A token for the scope that the client derives from its base url."""
        expires_on = int(datetime.now(UTC).timestamp()) + 3600
        return AccessToken(sign(SECRET, scopes[0], "client"), expires_on)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, made for these tests, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return pem


@pytest.fixture
async def client(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DataverseClient]:
    """The unmodified client on a fresh organization."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with running(Dataverse(Settings(token_secret=SECRET)), tls=tls) as url:
        with DataverseClient(url, Credential()) as opened:
            yield opened


def _read(client: DataverseClient, row_id: str) -> Any:
    """A row that has to be there."""
    row = client.records.retrieve("account", row_id)
    assert row is not None
    return row


async def _in_thread[T](act: Callable[[], T]) -> T:
    return await asyncio.to_thread(act)


async def test_it_creates_reads_updates_and_deletes(client: DataverseClient) -> None:
    def act() -> None:
        row_id = client.records.create("account", {"Name": "Acme", "AccountNumber": "C-1", "creditlimit": 100.5})
        row = client.records.retrieve("account", row_id, select=["Name", "CreditLimit"])
        assert row is not None
        assert (row["name"], row["creditlimit"]) == ("Acme", 100.5)
        client.records.update("account", row_id, {"Name": "Acme Ltd"})
        assert _read(client, row_id)["name"] == "Acme Ltd"
        client.records.delete("account", row_id)
        with pytest.raises(HttpError) as refused:
            client.records.update("account", row_id, {"Name": "x"})
        assert refused.value.status_code == 404

    await _in_thread(act)


async def test_it_queries_page_by_page(client: DataverseClient) -> None:
    def act() -> None:
        ids = client.records.create("account", [{"name": f"a{number}", "revenue": number} for number in range(5)])
        assert len(ids) == 5
        pages = list(
            client.records.list_pages(
                "account", select=["name"], filter="revenue ge 1", orderby=["name desc"], page_size=3
            )
        )
        assert [[row["name"] for row in page] for page in pages] == [["a4", "a3", "a2"], ["a1"]]

    await _in_thread(act)


async def test_it_upserts_by_alternate_key_one_and_many(client: DataverseClient) -> None:
    def act() -> None:
        for name in ("first", "second"):
            client.records.upsert("account", [UpsertItem({"accountnumber": "C-1"}, {"name": name})])
        items: list[UpsertItem | dict[str, Any]] = [
            UpsertItem({"accountnumber": f"C-{number}"}, {"name": f"n{number}"}) for number in (1, 2)
        ]
        client.records.upsert("account", items)
        found = client.records.list("account", select=["accountnumber", "name"])
        assert [(row["accountnumber"], row["name"]) for row in found] == [("C-1", "n1"), ("C-2", "n2")]

    await _in_thread(act)


async def test_it_updates_and_deletes_in_bulk(client: DataverseClient) -> None:
    def act() -> None:
        ids = client.records.create("account", [{"name": "a"}, {"name": "b"}])
        client.records.update("account", ids, {"telephone1": "1"})
        assert {row["telephone1"] for row in client.records.list("account", select=["telephone1"])} == {"1"}
        assert client.records.delete("account", ids)
        assert list(client.records.list("account")) == []

    await _in_thread(act)


async def test_it_turns_option_labels_into_numbers_by_our_metadata(client: DataverseClient) -> None:
    def act() -> None:
        row_id = client.records.create("account", {"name": "a", "customertypecode": "Customer"})
        assert _read(client, row_id)["customertypecode"] == 3
        columns = client.tables.list_columns("account")
        assert "creditlimit" in {column["LogicalName"] for column in columns}
        table = client.tables.get("salesorder")
        assert table is not None
        assert table["entity_set_name"] == "salesorders"

    await _in_thread(act)


async def test_its_batches_and_change_sets_are_answered(client: DataverseClient) -> None:
    def act() -> None:
        batch = client.batch.new()
        with batch.changeset() as changes:
            account = changes.records.create("account", {"name": "Acme"})
            changes.records.update("account", account, {"telephone1": "9"})
        batch.records.list("account", select=["telephone1"])
        result = batch.execute()
        assert not result.has_errors
        listed = result.responses[-1].data
        assert listed is not None
        assert listed["value"][0]["telephone1"] == "9"

    await _in_thread(act)


async def test_it_tells_our_refusals_with_their_codes(client: DataverseClient) -> None:
    def act() -> None:
        with pytest.raises(HttpError) as refused:
            client.records.create("account", {"nam": "x"})
        assert (refused.value.status_code, refused.value.details["service_error_code"]) == (400, "0x80048d19")

    await _in_thread(act)
