"""Who owns each field: the types behind `authority.yaml`, and every fault of it found at start.

A steward reads the YAML; the stories ask `rule`. Ownership may depend on the legal entity and on the stage of the
record (Commerce owns an order's amounts until they are posted, SAP after that).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

System = Literal["sap", "dataverse", "commerce", "concord"]
OnConflict = Literal["restore", "hold", "accept_once"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Divergence(_Part):
    """Another owner or another answer, where the legal entity and the stage fit; what is not named stays."""

    legal_entity: str | None = None
    stage: str | None = None
    owner: System | None = None
    on_conflict: OnConflict | None = None

    @model_validator(mode="after")
    def _fits_something_and_says_something(self) -> Self:
        if self.legal_entity is None and self.stage is None:
            raise ValueError("an exception names a legal_entity, a stage, or both")
        if self.owner is None and self.on_conflict is None:
            raise ValueError("an exception names another owner, another on_conflict, or both")
        return self


class FieldRule(_Part):
    """The ownership of one field."""

    owner: System
    readers: tuple[System, ...]
    on_conflict: OnConflict
    coupled: tuple[str, ...] = Field((), alias="with")
    exceptions: tuple[Divergence, ...] = Field((), alias="except")

    @model_validator(mode="after")
    def _an_owner_does_not_read_itself(self) -> Self:
        if self.owner in self.readers:
            raise ValueError(f"{self.owner} is owner and reader at once")
        if len(set(self.readers)) != len(self.readers):
            raise ValueError("a reader is named twice")
        return self

    def at(self, legal_entity: str, stage: str) -> FieldRule:
        """The rule as it stands for a legal entity and a stage: an owner that takes over swaps with the one before."""
        for exception in self.exceptions:
            if exception.legal_entity not in {None, legal_entity} or exception.stage not in {None, stage}:
                continue
            owner = exception.owner or self.owner
            everyone = (self.owner, *self.readers)
            return FieldRule.model_validate(
                {
                    "owner": owner,
                    "readers": tuple(system for system in everyone if system != owner),
                    "on_conflict": exception.on_conflict or self.on_conflict,
                    "with": self.coupled,
                }
            )
        return self


class Restores(_Part):
    """How often the owner's value is written back before a person is asked."""

    most: int = Field(ge=1)
    window_minutes: int = Field(ge=1)


class RecordRule(_Part):
    """What a deleted or a merged record means."""

    on_delete: Literal["hold", "ignore"] = "hold"
    on_merge: Literal["hold", "ignore"] = "hold"


class Authority(_Part):
    """The authority file: `objects` is object → field → rule."""

    restores: Restores
    records: dict[str, RecordRule] = Field(default_factory=dict)
    objects: dict[str, dict[str, FieldRule]]

    @model_validator(mode="after")
    def _couplings_hold(self) -> Self:
        for name, fields in self.objects.items():
            for field_name, rule in fields.items():
                for other in rule.coupled:
                    if other not in fields:
                        raise ValueError(f"{name}.{field_name} is ruled with {other}, which {name} does not have")
                    if (fields[other].owner, fields[other].exceptions) != (rule.owner, rule.exceptions):
                        raise ValueError(f"{name}.{field_name} and {other} are ruled together but have two owners")
                    if field_name not in fields[other].coupled:
                        raise ValueError(
                            f"{name}.{other} does not name {field_name} in `with`, though it is named there"
                        )
        unknown = sorted(set(self.records) - set(self.objects))
        if unknown:
            raise ValueError(f"records names objects that are not governed: {', '.join(unknown)}")
        return self

    def rule(self, object_name: str, field_name: str, *, legal_entity: str = "", stage: str = "") -> FieldRule:
        """The rule of a governed field; raises KeyError for one that is not."""
        return self.objects[object_name][field_name].at(legal_entity, stage)

    def record_rule(self, object_name: str) -> RecordRule:
        return self.records.get(object_name, RecordRule())

    def every_field(self) -> Iterator[tuple[str, str, FieldRule]]:
        """(object, field, rule) of all that is governed, in the file's order."""
        for object_name, fields in self.objects.items():
            for field_name, rule in fields.items():
                yield object_name, field_name, rule
