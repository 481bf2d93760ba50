"""Every mistake of this table, made in a copy of the infrastructure, is found by the checks that `make check` runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.checks.__main__ import check
from tests.infra.conftest import ROOT


@dataclass(frozen=True, slots=True)
class Mistake:
    """In `file`, the first `old` becomes `new`; some finding then says `says`."""

    name: str
    file: str
    old: str
    new: str
    says: str


MISTAKES = (
    Mistake("wrong property", "infra/modules/servicebus.bicep",
            "    minimumTlsVersion: '1.2'", "    minTlsVersion: '1.2'", "no property properties.minTlsVersion"),
    Mistake("wrong nested property", "infra/modules/functionapp.bicep",
            "perInstanceConcurrency:", "perInstanceConcurency:", "perInstanceConcurency"),
    Mistake("missing required property", "infra/modules/functionapp.bicep",
            "        version: '3.13'\n", "", "properties.functionAppConfig.runtime.version is missing"),
    Mistake("wrong runtime", "infra/modules/functionapp.bicep",
            "version: '3.13'", "version: '3.11'", "runtime.version is '3.11'"),
    Mistake("unknown type", "infra/modules/keyvault.bicep",
            "Microsoft.KeyVault/vaults@2025-05-01", "Microsoft.KeyVaults/vaults@2025-05-01", "is not in types.yaml"),
    Mistake("unknown version", "infra/modules/storage-state.bicep",
            "storageAccounts@2025-06-01", "storageAccounts@2025-16-01", "API version of Microsoft.Storage"),
    Mistake("missing role", "infra/modules/servicebus.bicep",
            "scope: orderSubscriptions[index]", "scope: orderSubscriptions[0]",
            "needs Service Bus Data Receiver on"),
    Mistake("role too many", "infra/modules/storage-state.bicep",
            "  scope: bodies\n", "  scope: account\n", "which it does not need"),
    Mistake("role on the whole group", "infra/modules/keyvault.bicep",
            "  scope: vault\n  properties: {\n    roleDefinitionId", "  properties: {\n    roleDefinitionId",
            "assigned on the whole resource group"),
    Mistake("sender may receive", "infra/modules/servicebus.bicep",
            "Microsoft.Authorization/roleDefinitions', serviceBusDataSender)",
            "Microsoft.Authorization/roleDefinitions', serviceBusDataReceiver)", "gets Service Bus Data Receiver on"),
    Mistake("wrong GUID", "infra/modules/servicebus.bicep",
            "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39", "69a216fc-b8fb-44d8-bc22-1f3c2cd27a30", "GUID of no role"),
    Mistake("GUID under another role's name", "infra/modules/storage-deployment.bicep",
            "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
            "which is storageBlobDataContributor"),
    Mistake("bare GUID", "infra/modules/keyvault.bicep",
            "roleDefinitions', keyVaultSecretsUser)", "roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e7')",
            "says nothing: name it"),
    Mistake("public access on", "infra/main.bicep",
            "    publicAccess: !privateNetworking\n", "    publicAccess: true\n", "public access is Enabled"),
    Mistake("vault in public", "infra/main.bicep",
            "privateNetworking ? 'Disabled' : 'Enabled'", "'Enabled'", "public access is Enabled"),
    Mistake("blobs in public", "infra/modules/storage-state.bicep",
            "allowBlobPublicAccess: false", "allowBlobPublicAccess: true", "properties.allowBlobPublicAccess is True"),
    Mistake("container in public", "infra/modules/storage-state.bicep",
            "publicAccess: 'None'", "publicAccess: 'Blob'", "properties.publicAccess is 'Blob'"),
    Mistake("storage keys on", "infra/modules/storage-state.bicep",
            "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "properties.allowSharedKeyAccess is True"),
    Mistake("bus keys on", "infra/modules/servicebus.bicep",
            "disableLocalAuth: true", "disableLocalAuth: false", "properties.disableLocalAuth is False"),
    Mistake("key in a setting", "infra/modules/functionapp.bicep",
            "    Tables__endpoint: tablesEndpoint",
            "    Tables__endpoint: tablesEndpoint\n    ServiceBus: 'Endpoint=sb://x'", "is a connection string"),
    Mistake("key in an output", "infra/modules/storage-state.bicep",
            "output name string = account.name", "output name string = account.listKeys().keys[0].value",
            "identities only"),
    Mistake("secret in plain text", "infra/modules/functionapp.bicep",
            "'@Microsoft.KeyVault(SecretUri=${keyVaultUri}secrets/sap-password)'", "'geheim'",
            "is secret and not a Key Vault reference"),
    Mistake("publishing by password", "infra/modules/functionapp.bicep",
            "    allow: false", "    allow: true", "properties.allow is True"),
    Mistake("FTP", "infra/modules/functionapp.bicep", "'Disabled'", "'AllAllowed'", "siteConfig.ftpsState"),
    Mistake("TLS 1.0", "infra/modules/storage-deployment.bicep",
            "'TLS1_2'", "'TLS1_0'", "properties.minimumTlsVersion is 'TLS1_0'"),
    Mistake("plain HTTP", "infra/modules/functionapp.bicep",
            "httpsOnly: true", "httpsOnly: false", "properties.httpsOnly is False"),
    Mistake("anonymous people", "infra/modules/functionapp.bicep",
            "'Return401'", "'AllowAnonymous'", "unauthenticatedClientAction is 'AllowAnonymous'"),
    Mistake("a person's door left open", "infra/modules/functionapp.bicep",
            "        '/api/health'\n", "        '/api/health'\n        '/api/cases'\n",
            "/api/cases is left out of sign-in, but is no door that checks a key"),
    Mistake("a machine's door shut", "infra/modules/functionapp.bicep",
            "        '/api/webhooks/sap'\n", "", "/api/webhooks/sap is opened by machines with a key"),
    Mistake("no private endpoint", "infra/modules/private-endpoints.bicep",
            "    groupId: 'vault'", "    groupId: 'blob'", "no private endpoint leads to vault"),
    Mistake("name in another zone", "infra/modules/private-endpoints.bicep",
            "    groupId: 'namespace'\n    zone: 2", "    groupId: 'namespace'\n    zone: 1",
            "writes its name into another zone"),
    Mistake("topology drift: rule", "infra/modules/servicebus.bicep",
            "kind <> \\'order.posted\\'", "kind <> \\'order.confirmed\\'", "in the local broker's configuration"),
    Mistake("topology drift: a subscription more", "sandbox/broker/Config.json",
            '"Name": "account_sync"', '"Name": "account_sync_too"',
            "account_sync is in the Bicep, the local broker's configuration does not have it"),
    Mistake("lock duration", "infra/modules/servicebus.bicep",
            "lockDuration = 'PT1M'", "lockDuration = 'PT5M'", "lock duration: is 'PT5M'"),
    Mistake("TTL", "infra/modules/servicebus.bicep",
            "timeToLive = 'P14D'", "timeToLive = 'P1D'", "time to live: is 'P1D'"),
    Mistake("delivery count", "infra/modules/servicebus.bicep",
            "maxDeliveryCount = 500", "maxDeliveryCount = 10", "max delivery count: is 10"),
    Mistake("no sessions", "infra/modules/servicebus.bicep",
            "requiresSession: true", "requiresSession: false", "properties.requiresSession is False"),
    Mistake("no duplicate detection", "infra/modules/servicebus.bicep",
            "requiresDuplicateDetection: true", "requiresDuplicateDetection: false", "DuplicateDetection is False"),
    Mistake("unwired parameter", "infra/main.bicep",
            "    serviceBusHost: serviceBus.outputs.host\n", "", "parameter serviceBusHost has no default"),
    Mistake("parameter nobody has", "infra/main.bicep",
            "    amount: monthlyBudget", "    amount: monthlyBudget\n    currency: 'EUR'", "has no such parameter"),
    Mistake("parameter nobody reads", "infra/modules/budget.bicep",
            "param amount int", "param amount int\nparam currency string = 'EUR'", "is declared and never used"),
    Mistake("output nobody gives", "infra/main.bicep",
            "keyVault.outputs.uri", "keyVault.outputs.url", "module keyVault has no output url"),
    Mistake("variable nobody declares", "infra/modules/budget.bicep",
            "startDate: startDate", "startDate: firstDay", "firstDay is declared nowhere"),
    Mistake("parameter out of bounds", "infra/parameters/prod.json",
            '"retentionDays": {\n      "value": 90', '"retentionDays": {\n      "value": 9', "beyond minValue 30"),
    Mistake("parameter of a wrong type", "infra/parameters/dev.json",
            '"privateNetworking": {\n      "value": false', '"privateNetworking": {\n      "value": "no"',
            "not of type bool"),
    Mistake("missing diagnostic setting", "infra/modules/keyvault.bicep",
            "  name: 'to-workspace'\n  scope: vault", "  name: 'to-workspace'\n  scope: reader",
            "has no diagnostic setting"),
    Mistake("missing lock", "infra/modules/storage-state.bicep",
            "  name: 'state-stays'\n  scope: account", "  name: 'state-stays'\n  scope: tableService",
            "is not locked against deletion"),
    Mistake("missing tags", "infra/modules/identity.bicep", "  tags: tags\n", "", "tags is missing"),
    Mistake("missing table", "infra/modules/storage-state.bicep", "  'parked'\n", "", "does not create it"),
    Mistake("missing alert", "infra/modules/alerts.bicep",
            "name: 'parked-keys'", "name: 'parked-locks'", "the alert parked-keys is missing"),
    Mistake("alert without a runbook", "infra/modules/alerts.bicep",
            "runbook: 'dataverse-throttling.md'", "runbook: 'to-be-written.md'", "to-be-written.md does not exist"),
    Mistake("alert that its runbook does not know", "docs/runbooks/dead-letters.md",
            "`parked-keys`", "`parked`", "does not know the alert parked-keys"),
    Mistake("alert of an unknown form", "infra/modules/availability.bicep",
            "WebtestLocationAvailabilityCriteria", "WebtestAvailabilityCriteria", "criteria.odata.type is"),
    Mistake("probe without TLS", "infra/modules/availability.bicep", "'https://", "'http://", "Request.RequestUrl is"),
    Mistake("query nobody wrote", "infra/modules/alerts.bicep",
            "queries/failures.kql", "queries/failure.kql", "failure.kql does not exist"),
    Mistake("query nobody uses", "infra/modules/workbook.bicep",
            "queries/lag-by-flow.kql", "queries/failures.kql", "lag-by-flow.kql: stands behind no alert"),
    Mistake("checkout starts cold", "infra/modules/functionapp.bicep",
            "name: 'http'\n", "name: 'function:http'\n", "no instance is always ready for checkout"),
    Mistake("a flow starts cold", "infra/modules/functionapp.bicep",
            "'function:account_sync'", "'function:accounts_sync'", "no instance is always ready for account_sync"),
    Mistake("more calls than SAP takes", "infra/main.bicep",
            "max(1, sapConcurrentCalls / maximumInstanceCount)", "32", "calls to SAP at once"),
    Mistake("more lanes than slots", "infra/modules/functionapp.bicep",
            "string(sessionsPerInstance * alwaysReadyInstances)", "string(64 * alwaysReadyInstances)", "lanes, but"),
    Mistake("settings drift: misspelt in the Bicep", "infra/modules/functionapp.bicep",
            "    Dataverse__url: ", "    Dataverse__uri: ", "Dataverse__uri: is no setting of the app nor of its host"),
    Mistake("settings drift: not deployed", "infra/modules/functionapp.bicep",
            "    Tables__endpoint: tablesEndpoint\n", "", "Tables__endpoint: is missing: the address of the state"),
    Mistake("settings drift: of the local stack", "infra/modules/functionapp.bicep",
            "    Blobs__endpoint: ", "    Concord__traces: 'stdout'\n    Blobs__endpoint: ",
            "Concord__traces: is for the local stack only"),
    Mistake("settings drift: not in the example", "local.settings.example.json",
            '    "Concord__traces": "",\n', "", "Concord__traces: is missing: an example names every setting"),
    Mistake("settings drift: unknown to the app", "local.settings.example.json",
            '"Sap__client"', '"Sap__mandt"', "Sap__mandt: is no setting of the app"),
    Mistake("settings drift: the README's table", "README.md",
            "| no start | set | Key Vault |", "| – | set | deployment |", "the table has a line that is not true"),
    Mistake("host signs in with a key", "infra/modules/functionapp.bicep",
            "ServiceBus__credential: 'managedidentity'", "ServiceBus__credential: 'key'",
            "the host signs in with managedidentity"),
    Mistake("log without a category", "infra/modules/keyvault.bicep",
            "        categoryGroup: 'audit'\n", "", "has a log without a category"),
    Mistake("metric nobody measures", "infra/modules/alerts.bicep",
            "metric: 'DeadletteredMessages'", "metric: 'DeadLetterMessages'", "metricName is 'DeadLetterMessages'"),
    Mistake("network open", "infra/modules/network.bicep",
            "sourceAddressPrefix: 'Internet'", "sourceAddressPrefix: 'VirtualNetwork'", "right is 'Internet'"),
    Mistake("tokens kept", "infra/modules/functionapp.bicep",
            "        enabled: false\n", "        enabled: true\n", "login.tokenStore.enabled is True"),
    Mistake("endpoint without a name", "infra/modules/private-endpoints.bicep",
            "[for index in range(0, length(endpoints)): {\n  parent: connections[index]",
            "[for index in range(1, length(endpoints) - 1): {\n  parent: connections[index]",
            "writes its name into no zone"),
    Mistake("no place for packages", "infra/modules/storage-deployment.bicep",
            "name: 'packages'", "name: 'releases'", "takes packages from"),
    Mistake("output that a step reads", "infra/main.bicep",
            "output keyVaultName ", "output vaultName ", "main.bicep has no such output"),
    Mistake("syntax", "infra/modules/budget.bicep", "    amount: amount\n", "    amount: = amount\n", "be parsed"),
    Mistake("beyond the plain subset", "infra/modules/alerts.bicep",
            "[for index in range(0, length(emails)): {", "[for (email, index) in emails: {", "more than one variable"),
)  # fmt: skip


def test_the_infrastructure_as_it_stands_has_no_findings() -> None:
    findings, deployments = check(ROOT)
    assert not findings, "\n".join(map(str, findings))
    assert [deployment.label for deployment in deployments] == ["dev", "prod"]
    assert all(len(deployment.resources) > 50 for deployment in deployments)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_a_seeded_mistake_is_found(mistake: Mistake, copy: Path) -> None:
    path = copy / mistake.file
    text = path.read_text(encoding="utf-8")
    assert mistake.old in text, "the mistake cannot be made: the file has changed"
    path.write_text(text.replace(mistake.old, mistake.new, 1), encoding="utf-8")
    findings, _ = check(copy)
    assert any(mistake.says in str(finding) for finding in findings), "\n".join(map(str, findings)) or "nothing found"


def _run(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.checks", str(root)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_that_make_check_runs_fails_on_a_finding_and_names_it(copy: Path) -> None:
    path = copy / "infra/modules/servicebus.bicep"
    path.write_text(path.read_text().replace("disableLocalAuth: true", "disableLocalAuth: false"))
    done = _run(copy)
    assert done.returncode == 1
    assert "infra: servicebus.bicep:" in done.stdout
    assert "properties.disableLocalAuth is False, right is True" in done.stdout


def test_the_command_says_plainly_that_the_compiler_was_not_run() -> None:
    done = _run(ROOT)
    assert done.returncode == 0, done.stdout
    assert "the Bicep compiler was not run" in done.stdout


def test_each_mistake_is_another_one() -> None:
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 10
    assert len({(mistake.file, mistake.old, mistake.new) for mistake in MISTAKES}) == len(MISTAKES)
