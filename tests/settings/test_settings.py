"""Settings are read once and whole: every fault is told at the start, with what to set, and no secret is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import SettingsFaulty, names, read_settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE: dict[str, str] = json.loads((ROOT / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]
CLOUD = {name: value for name, value in EXAMPLE.items() if "onnectionString" not in name and name != "ServiceBus"} | {
    "ServiceBus__fullyQualifiedNamespace": "sb-concord-dev-x.servicebus.windows.net",
    "Tables__endpoint": "https://sconcorddevx.table.core.windows.net/",
    "Blobs__endpoint": "https://sconcorddevx.blob.core.windows.net/",
    "Identity__clientId": "11111111-1111-1111-1111-111111111111",
    "Sap__url": "https://sap.contoso.com",
}


def faults(**changes: str) -> list[str]:
    """The lines of the report about the example with these changes; none where the app would start."""
    try:
        read_settings(EXAMPLE | changes)
    except SettingsFaulty as fault:
        return [line.strip() for line in str(fault).splitlines()[1:]]
    return []


def test_the_example_starts_an_app_as_it_stands() -> None:
    assert faults() == []


def test_what_the_deployment_sets_starts_an_app() -> None:
    settings = read_settings(CLOUD)
    assert settings.tables_endpoint == "https://sconcorddevx.table.core.windows.net"
    assert settings.servicebus_connection is None


def test_nothing_set_names_every_setting_that_is_needed_at_once() -> None:
    with pytest.raises(SettingsFaulty) as told:
        read_settings({})
    named = {line.strip().partition(":")[0] for line in str(told.value).splitlines()[1:]}
    assert named == {
        "ServiceBus__fullyQualifiedNamespace", "Tables__endpoint", "Blobs__endpoint", "Sap__url", "Sap__user",
        "Sap__password", "Dataverse__url", "Commerce__retailUrl", "Commerce__hqUrl", "Commerce__inventoryUrl",
        "Commerce__inventoryTokenUrl", "Commerce__environmentId", "Concord__serviceKey",
    }  # fmt: skip
    assert str(told.value).startswith("13 fault(s)")
    assert all("set it to the " in line for line in str(told.value).splitlines()[1:])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("Sap__url", "http://sap.contoso.com", "is not https: credentials would travel in clear"),
        ("Sap__url", "https://user:pass@sap.contoso.com", "carries a user"),
        ("Sap__url", "sap.contoso.com", "is not an address"),
        ("Sap__url", "https://sap.contoso.com?x=1", "is not an address"),
        ("Sap__client", "1000", "set it to the SAP client, three digits"),
        ("Sap__concurrentCalls", "many", "set it to the calls to SAP that one worker lets run at once"),
        ("Sap__password", " ", "is missing"),
        ("Identity__clientId", "concord", "client id of the user-assigned identity"),
        ("Concord__serviceKey", "short", "set it to the key by which services read people's doors"),
        ("Concord__policyOverlay", "no/such/file.yaml", "is not a file that this app can read"),
        ("Concord__traces", "no/such/folder/traces.jsonl", "is neither stdout nor a file in a folder that is there"),
        ("Concord__lanes", "9", "raise the instances or lower the lanes"),
        ("Concord__traceRatio", "1.5", "part of all traces that is kept"),
        ("ServiceBus", "sb://x", "it begins with Endpoint=sb://"),
        ("ServiceBus__fullyQualifiedNamespace", "x.servicebus.windows.net", "ServiceBus is set too"),
        ("Tables__endpoint", "https://x.table.core.windows.net", "Tables__connectionString is set too"),
        ("Sap__urll", "https://x.contoso.com", "is no setting of this app; Sap__url is meant?"),
        ("Sap__xyz0123456789", "1", "is no setting of this app; remove it"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", "x", "it names an InstrumentationKey"),
        ("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "Authorization=AAD", "means nothing without"),
        (
            "Sap__password",
            "@Microsoft.KeyVault(SecretUri=https://kv/secrets/sap)",
            "Key Vault reference is not resolved",
        ),
    ],
)
def test_a_faulty_setting_is_named_with_what_is_wrong_and_what_to_do(name: str, value: str, said: str) -> None:
    (line,) = faults(**{name: value})
    assert line.startswith(f"{name}: ")
    assert said in line


def test_all_faults_of_one_start_are_told_together() -> None:
    lines = faults(Sap__url="ftp://x", Sap__client="1", Concord__lanes="0", Dataverse__uri="x", Sap__user="")
    assert [line.partition(":")[0] for line in lines] == [
        "Sap__url", "Sap__client", "Sap__user", "Concord__lanes", "Dataverse__uri"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name in names() if name.endswith(("password", "Key", "ServiceBus", "String"))]
)
def test_a_report_never_quotes_what_was_set(name: str) -> None:
    said = "\n".join(faults(**{name: "S3cretQuoted"}, Sap__client="wrong"))
    assert said
    assert "S3cretQuoted" not in said


def test_a_setting_that_is_a_secret_does_not_print_itself() -> None:
    settings = read_settings(
        EXAMPLE | {"Sap__password": "S3cretQuoted", "Concord__serviceKey": "S3cretQuoted-and-more"}
    )
    assert "S3cretQuoted" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_an_app_with_faulty_settings_has_no_functions_and_says_why() -> None:
    wrong = os.environ | EXAMPLE | {"Sap__url": "", "Dataverse__url": "ftp://x"}
    done = subprocess.run(
        [sys.executable, "-c", "import function_app"], cwd=ROOT, env=wrong, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "2 fault(s) in the settings" in done.stderr
    assert "Sap__url: is missing" in done.stderr
    assert "Dataverse__url: is not an address" in done.stderr


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        (
            b"credit: {defaults: {hold_seconds: -5}}",
            "credit.yaml: defaults.hold_seconds: Input should be greater than 0",
        ),
        (b"credits: {}", "overlay.yaml: unknown top keys credits"),
        (b": : :", "overlay.yaml is not YAML"),
        (b"[1, 2]", "overlay.yaml is not a mapping"),
        (b"credit: \xff", "overlay.yaml is not text in UTF-8"),
    ],
)
def test_an_app_with_a_faulty_overlay_has_no_functions_and_says_why(tmp_path: Path, overlay: bytes, said: str) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_bytes(overlay)
    wrong = os.environ | EXAMPLE | {"Concord__policyOverlay": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", "import function_app"], cwd=ROOT, env=wrong, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
