"""Webhook bodies of Dataverse in the shape of its RemoteExecutionContext, written for these tests."""

from __future__ import annotations

from typing import Any

ENTITY = "Entity:http://schemas.microsoft.com/xrm/2011/Contracts"
REFERENCE = "EntityReference:http://schemas.microsoft.com/xrm/2011/Contracts"
MONEY = "Money:http://schemas.microsoft.com/xrm/2011/Contracts"
OPTION = "OptionSetValue:http://schemas.microsoft.com/xrm/2011/Contracts"


def guid(number: int) -> str:
    return f"{number:08x}-c0de-4c0d-8c0d-0123456789ab"


def context(number: int, message: str, entity: str, /, **changes: Any) -> dict[str, Any]:
    """One operation on one record, both numbered so that no two tests meet."""
    return {
        "BusinessUnitId": guid(1), "CorrelationId": guid(number), "Depth": 1, "InitiatingUserAgent": "",
        "InitiatingUserId": guid(2), "UserId": guid(2), "InputParameters": [], "IsExecutingOffline": False,
        "IsInTransaction": True, "IsOfflinePlayback": False, "IsolationMode": 1, "MessageName": message, "Mode": 1,
        "OperationCreatedOn": "/Date(1795428000000+0000)/", "OperationId": guid(number + 0x1000),
        "OrganizationId": guid(3), "OrganizationName": "unqconcord", "OutputParameters": [],
        "OwningExtension": {
            "Id": guid(4), "KeyAttributes": [], "LogicalName": "sdkmessageprocessingstep", "Name": None,
            "RowVersion": None,
        },
        "ParentContext": None, "PostEntityImages": [], "PreEntityImages": [], "PrimaryEntityId": guid(number),
        "PrimaryEntityName": entity, "RequestId": None, "SecondaryEntityName": "none", "SharedVariables": [],
        "Stage": 40,
    } | changes  # fmt: skip


def record(number: int, entity: str, typed: bool = True, **attributes: Any) -> dict[str, Any]:
    """An entity: `Target` carries its type, images do not."""
    pairs = [{"key": name, "value": value} for name, value in attributes.items()]
    told = {
        "Attributes": pairs, "EntityState": None, "FormattedValues": [], "Id": guid(number), "KeyAttributes": [],
        "LogicalName": entity, "RelatedEntities": [], "RowVersion": None,
    }  # fmt: skip
    return {"__type": ENTITY, **told} if typed else told


def target(number: int, entity: str, **attributes: Any) -> list[dict[str, Any]]:
    return [{"key": "Target", "value": record(number, entity, **attributes)}]


def written_bodies(start: int) -> list[dict[str, Any]]:
    """One of each kind: created with every wrapped type, updated with images, nested in a parent, deleted, assigned."""
    wrapped = {
        "name": "Tea & Co", "url": "https://tea.example/a/b", "creditlimit": {"__type": MONEY, "Value": 1234.5600},
        "customertypecode": {"__type": OPTION, "Value": 3},
        "hobbies": [{"__type": OPTION, "Value": 1}, {"__type": OPTION, "Value": 2}],
        "ownerid": {"__type": REFERENCE, "Id": guid(5), "KeyAttributes": [], "LogicalName": "systemuser", "Name": None},
        "createdon": "/Date(1795428000000)/", "donotphone": False, "nothing": None,
    }  # fmt: skip
    images = {
        "PreEntityImages": [{"key": "before", "value": record(start + 1, "contact", False, fullname="Ada")}],
        "PostEntityImages": [{"key": "after", "value": record(start + 1, "contact", False, fullname="Ada L.")}],
    }
    parent = context(start + 0x900, "Update", "account", Stage=30)
    return [
        context(start, "Create", "account", InputParameters=target(start, "account", **wrapped)),
        context(start + 1, "Update", "contact", InputParameters=target(start + 1, "contact", fullname="Ada L."),
                OperationCreatedOn="/Date(1795453200000-0700)/", **images),
        context(start + 2, "Create", "sharepointdocumentlocation", ParentContext=parent, Depth=2,
                InputParameters=target(start + 2, "sharepointdocumentlocation", name="Documents/General")),
        context(start + 3, "Delete", "contoso_alltypes", InputParameters=[{"key": "Target", "value": {
            "__type": REFERENCE, "Id": guid(start + 3), "LogicalName": "contoso_alltypes", "Name": None}}]),
    ]  # fmt: skip
