"""Bring a Dataverse organization to what `infra/dataverse.yaml` says: tables, columns, alternate keys, webhooks.

    DATAVERSE_TOKEN=… WEBHOOK_KEY=… python scripts/dataverse_setup.py --url https://….crm4.dynamics.com \\
        --webhook https://…/api/webhooks/dataverse [--dry-run] [--rotate-key]

What is there is left alone, what is missing is made, what is there and different is named and stops the run: a column
that is too short is a decision for whoever owns the organization. The token and the webhook's key come by environment,
because command lines are seen by others. Run it as somebody who may customize the organization.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

SPEC: Final = Path(__file__).resolve().parents[1] / "infra" / "dataverse.yaml"
NAMESPACE: Final = "Microsoft.Dynamics.CRM"
ENDPOINT_NAME: Final = "concord"
_POST_OPERATION: Final = 40
_KEY_POLLS: Final = 60
_KEY_POLL_SECONDS: Final = 5.0


class SetupStopped(Exception):
    """The organization cannot be brought there; the message says what stands in the way and what to do."""


@dataclass(slots=True)
class Organization:
    """The Web API of one organization. With `dry_run`, nothing is written and `done` says what would be."""

    session: aiohttp.ClientSession
    url: str
    token: str
    dry_run: bool = False
    done: list[str] = field(default_factory=list)

    async def get(self, path: str) -> dict[str, Any]:
        """One read; an answer of 404 is an empty object."""
        async with self.session.get(self._address(path), headers=self._headers()) as answer:
            if answer.status == 404:
                return {}
            if answer.status != 200:
                raise SetupStopped(f"GET {path} got {answer.status}: {(await answer.text())[:300]}")
            read: dict[str, Any] = await answer.json(content_type=None)
            return read

    async def rows(self, path: str) -> list[dict[str, Any]]:
        """The rows of a set that surely is there."""
        found = await self.get(path)
        if "value" not in found:
            raise SetupStopped(f"{path.partition('?')[0]} is not there: is the url that of an organization?")
        return list(found["value"])

    async def write(self, what: str, method: str, path: str, body: Mapping[str, Any]) -> str:
        """One write, noted as `what`; gives the id of what was made."""
        self.done.append(what)
        if self.dry_run:
            return ""
        headers = self._headers() | ({"If-Match": "*"} if method == "PATCH" else {})
        async with self.session.request(method, self._address(path), json=body, headers=headers) as answer:
            if answer.status not in {200, 201, 204}:
                raise SetupStopped(f"{what}: {method} {path} got {answer.status}: {(await answer.text())[:300]}")
            return answer.headers.get("OData-EntityId", "").rpartition("(")[2].rstrip(")")

    def _address(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/api/data/v9.2/{path}"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "OData-Version": "4.0", "Accept": "application/json"}


async def set_up(
    organization: Organization, spec: Mapping[str, Any], *, webhook: str, key: str, rotate_key: bool = False
) -> list[str]:
    """Make what is missing, in the order in which one needs the other; gives what was done (or would be)."""
    language = int(spec["language"])
    for schema, table in spec["tables"].items():
        await _table(organization, schema, table, language)
    for logical, columns in spec["columns"].items():
        await _columns(organization, logical, columns, language)
    for logical, columns in spec["keys"].items():
        await _key(organization, logical, columns)
    endpoint = await _endpoint(organization, webhook, key, rotate_key=rotate_key)
    for step in spec["steps"]:
        await _step(organization, step, endpoint)
    return organization.done


async def _table(organization: Organization, schema: str, table: Mapping[str, Any], language: int) -> None:
    logical = schema.lower()
    if not await organization.get(f"EntityDefinitions(LogicalName='{logical}')?$select=LogicalName"):
        primary = _definition(table["name"], table["columns"][table["name"]], language) | {"IsPrimaryName": True}
        await organization.write(
            f"table {logical}", "POST", "EntityDefinitions",
            {
                "@odata.type": f"{NAMESPACE}.EntityMetadata", "SchemaName": schema,
                "DisplayName": _label(table["title"], language),
                "DisplayCollectionName": _label(table["plural"], language),
                "OwnershipType": "UserOwned", "HasActivities": False, "HasNotes": False, "IsActivity": False,
                "Attributes": [primary],
            },
        )  # fmt: skip
        if organization.dry_run:
            organization.done += [
                f"column {logical}.{name.lower()}" for name in table["columns"] if name != table["name"]
            ]
            return
    await _columns(organization, logical, table["columns"], language)


async def _columns(organization: Organization, logical: str, columns: Mapping[str, str], language: int) -> None:
    held = {row["LogicalName"]: row for row in await organization.rows(_attributes(logical))}
    for schema, kind in columns.items():
        wanted = _definition(schema, kind, language)
        name = schema.lower()
        if name not in held:
            await organization.write(
                f"column {logical}.{name}", "POST", f"EntityDefinitions(LogicalName='{logical}')/Attributes", wanted
            )
            continue
        kind_there = str(held[name].get("@odata.type", "")).removeprefix("#")
        if kind_there != wanted["@odata.type"]:
            raise SetupStopped(
                f"{logical}.{name} is there as {kind_there}, {wanted['@odata.type']} is needed: remove it or rename it"
            )
        length = await _length(organization, logical, name, kind_there) if "MaxLength" in wanted else 0
        if "MaxLength" in wanted and length < wanted["MaxLength"]:
            raise SetupStopped(
                f"{logical}.{name} takes {length} characters, {wanted['MaxLength']} are needed: widen it"
            )


async def _length(organization: Organization, logical: str, name: str, kind: str) -> int:
    cast = f"{_attributes(logical).partition('?')[0]}(LogicalName='{name}')/{kind}?$select=MaxLength"
    return int((await organization.get(cast)).get("MaxLength", 0))


async def _key(organization: Organization, logical: str, columns: Sequence[str]) -> None:
    path = f"EntityDefinitions(LogicalName='{logical}')/Keys"
    for _ in range(_KEY_POLLS):
        table = await organization.get(f"EntityDefinitions(LogicalName='{logical}')?$select=LogicalName")
        keys = await organization.rows(path) if table else []
        found = next((key for key in keys if sorted(key["KeyAttributes"]) == sorted(columns)), None)
        if found is None:
            await organization.write(
                f"alternate key {logical}({', '.join(columns)})", "POST", path,
                {
                    "SchemaName": f"concord_{logical.removeprefix('concord_')}_{'_'.join(columns)}",
                    "DisplayName": _label(f"Concord: {', '.join(columns)}", 1033), "KeyAttributes": list(columns),
                },
            )  # fmt: skip
            if organization.dry_run:
                return
            continue
        status = found.get("EntityKeyIndexStatus")
        if status == "Active":
            return
        if status == "Failed":
            raise SetupStopped(
                f"the index of the key {logical}({', '.join(columns)}) failed: two rows share its values; merge them, "
                "reactivate the key in the maker portal, run this again"
            )
        await asyncio.sleep(_KEY_POLL_SECONDS)  # the organization builds the index in the background
    raise SetupStopped(
        f"the index of the key of {logical} is not built yet: run this again later, it goes on from here"
    )


async def _endpoint(organization: Organization, webhook: str, key: str, *, rotate_key: bool) -> str:
    found = await organization.rows(
        f"serviceendpoints?$select=serviceendpointid,url&$filter=name eq '{ENDPOINT_NAME}' and contract eq 8"
    )
    if not found:
        return await organization.write("webhook endpoint", "POST", "serviceendpoints", {
            "name": ENDPOINT_NAME, "contract": 8, "authtype": 4, "authvalue": key, "url": webhook,
            "messageformat": 2, "connectionmode": 1, "userclaim": 1,
        })  # fmt: skip
    endpoint = str(found[0]["serviceendpointid"])
    if found[0]["url"] != webhook or rotate_key:  # the key itself can be written but not read, so it cannot be compared
        what = "webhook endpoint: its key" if found[0]["url"] == webhook else f"webhook endpoint: its url, {webhook}"
        await organization.write(what, "PATCH", f"serviceendpoints({endpoint})", {"url": webhook, "authvalue": key})
    return endpoint


async def _step(organization: Organization, step: Mapping[str, Any], endpoint: str) -> None:
    message, table = step["message"], step["table"]
    name = f"concord: {message} of {table}"
    filtering = ",".join(step.get("columns", ()))
    there = await organization.rows(
        "sdkmessageprocessingsteps?$select=sdkmessageprocessingstepid,filteringattributes,statecode"
        f"&$filter=name eq '{name}'"
    )
    if there:
        listed = str(there[0].get("filteringattributes") or "").replace(" ", "")
        changed: dict[str, Any] = {} if listed == filtering else {"filteringattributes": filtering or None}
        if there[0].get("statecode") != 0:
            changed |= {"statecode": 0, "statuscode": 1}
        if changed:
            path = f"sdkmessageprocessingsteps({there[0]['sdkmessageprocessingstepid']})"
            await organization.write(f"step {message} of {table}: {', '.join(sorted(changed))}", "PATCH", path, changed)
        return
    messages = await organization.rows(f"sdkmessages?$select=sdkmessageid&$filter=name eq '{message}'")
    if not messages:
        raise SetupStopped(f"the organization has no message {message}")
    message_id = messages[0]["sdkmessageid"]
    filters = await organization.rows(
        "sdkmessagefilters?$select=sdkmessagefilterid"
        f"&$filter=primaryobjecttypecode eq '{table}' and _sdkmessageid_value eq {message_id}"
    )
    if not filters and not organization.dry_run:
        raise SetupStopped(f"no step can be registered on {message} of {table}: is the table there?")
    body: dict[str, Any] = {
        "name": name, "mode": 1, "stage": _POST_OPERATION, "rank": 1, "supporteddeployment": 0, "asyncautodelete": True,
        "eventhandler_serviceendpoint@odata.bind": f"/serviceendpoints({endpoint})",
        "sdkmessageid@odata.bind": f"/sdkmessages({message_id})",
    }  # fmt: skip
    if filters:
        body["sdkmessagefilterid@odata.bind"] = f"/sdkmessagefilters({filters[0]['sdkmessagefilterid']})"
    if filtering:
        body["filteringattributes"] = filtering
    await organization.write(f"step {message} of {table}", "POST", "sdkmessageprocessingsteps", body)


def _attributes(logical: str) -> str:
    return f"EntityDefinitions(LogicalName='{logical}')/Attributes?$select=LogicalName"


def _definition(schema: str, kind: str, language: int) -> dict[str, Any]:
    """A column as the Web API wants it defined."""
    word, _, size = kind.partition(" ")
    made: dict[str, Any] = {
        "SchemaName": schema,
        "DisplayName": _label(schema.partition("_")[2], language),
        "RequiredLevel": {"Value": "None", "CanBeChanged": True},
    }
    match word:
        case "text":
            return made | {
                "@odata.type": f"{NAMESPACE}.StringAttributeMetadata", "MaxLength": int(size),
                "FormatName": {"Value": "Text"},
            }  # fmt: skip
        case "memo":
            return made | {
                "@odata.type": f"{NAMESPACE}.MemoAttributeMetadata",
                "MaxLength": int(size),
                "Format": "TextArea",
            }
        case "money":
            return made | {"@odata.type": f"{NAMESPACE}.MoneyAttributeMetadata", "PrecisionSource": 0, "Precision": 4}
        case "decimal":
            return made | {"@odata.type": f"{NAMESPACE}.DecimalAttributeMetadata", "Precision": int(size)}
        case "instant":
            return made | {
                "@odata.type": f"{NAMESPACE}.DateTimeAttributeMetadata", "Format": "DateAndTime",
                "DateTimeBehavior": {"Value": "UserLocal"},
            }  # fmt: skip
        case "day":
            return made | {
                "@odata.type": f"{NAMESPACE}.DateTimeAttributeMetadata", "Format": "DateOnly",
                "DateTimeBehavior": {"Value": "DateOnly"},
            }  # fmt: skip
        case _:
            raise SetupStopped(f"{SPEC.name}: {schema} has the unknown type {kind!r}")


def _label(text: str, language: int) -> dict[str, Any]:
    localized = {"@odata.type": f"{NAMESPACE}.LocalizedLabel", "Label": text, "LanguageCode": language}
    return {"@odata.type": f"{NAMESPACE}.Label", "LocalizedLabels": [localized]}


async def _run(arguments: argparse.Namespace) -> list[str]:
    token, key = os.environ.get("DATAVERSE_TOKEN", ""), os.environ.get("WEBHOOK_KEY", "")
    if not token or not (key or arguments.dry_run):
        raise SetupStopped("DATAVERSE_TOKEN and WEBHOOK_KEY must be set; scripts/deploy/register-dataverse.sh does so")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        organization = Organization(session, arguments.url, token, arguments.dry_run)
        spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
        return await set_up(organization, spec, webhook=arguments.webhook, key=key, rotate_key=arguments.rotate_key)


def main() -> int:
    """Set up, say what was done; 1 with the reason when something stands in the way."""
    parser = argparse.ArgumentParser(description="Bring a Dataverse organization to what infra/dataverse.yaml says.")
    parser.add_argument("--url", required=True, help="https://<organization>.crm4.dynamics.com")
    parser.add_argument("--webhook", required=True, help="https://<app>/api/webhooks/dataverse")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument(
        "--rotate-key", action="store_true", help="write the webhook's key although nothing else changed"
    )
    try:
        done = asyncio.run(_run(arguments := parser.parse_args()))
    except (SetupStopped, aiohttp.ClientError) as fault:
        print(f"dataverse_setup: {fault}", file=sys.stderr)
        return 1
    verb = "would make" if arguments.dry_run else "made"
    for what in done:
        print(f"{verb} {what}")
    print(f"{verb} {len(done)} things" if done else "nothing is missing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
