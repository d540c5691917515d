"""The parts of Consul's answers that Meshwright reads (https://developer.hashicorp.com/consul/api-docs/health).

Consul sends `null` for an empty list or map; newer versions add fields: unknown ones are left alone.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter


def _or_empty_map(value: object) -> object:
    return {} if value is None else value


def _or_empty_list(value: object) -> object:
    return [] if value is None else value


Strings = Annotated[dict[str, str], BeforeValidator(_or_empty_map)]
Tags = Annotated[list[str], BeforeValidator(_or_empty_list)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Place(_Answer):
    """`Locality`, which Consul 1.16 and newer give nodes and services."""

    region: str = Field("", alias="Region")
    zone: str = Field("", alias="Zone")


class Node(_Answer):
    name: str = Field(alias="Node")
    address: str = Field("", alias="Address")
    meta: Strings = Field({}, alias="Meta")
    locality: Place | None = Field(None, alias="Locality")
    modify_index: int = Field(0, alias="ModifyIndex")


class Weights(_Answer):
    passing: int = Field(1, alias="Passing")
    warning: int = Field(1, alias="Warning")


class Instance(_Answer):
    id: str = Field(alias="ID")
    service: str = Field(alias="Service")
    kind: str = Field("", alias="Kind")
    tags: Tags = Field([], alias="Tags")
    address: str = Field("", alias="Address")
    port: int = Field(0, alias="Port")
    meta: Strings = Field({}, alias="Meta")
    weights: Weights | None = Field(None, alias="Weights")
    locality: Place | None = Field(None, alias="Locality")
    create_index: int = Field(0, alias="CreateIndex")
    modify_index: int = Field(0, alias="ModifyIndex")


class Check(_Answer):
    node: str = Field("", alias="Node")
    id: str = Field("", alias="CheckID")
    name: str = Field("", alias="Name")
    status: str = Field(alias="Status")
    service: str = Field("", alias="ServiceName")


class Entry(_Answer):
    """One element of `health/service/<name>`: an instance, its node, and the checks of both."""

    node: Node = Field(alias="Node")
    instance: Instance = Field(alias="Service")
    checks: Annotated[list[Check], BeforeValidator(_or_empty_list)] = Field([], alias="Checks")


class Registration(_Answer):
    """As much of an instance as tells whether it has changed."""

    id: str = Field(alias="ID")
    service: str = Field(alias="Service")
    modify_index: int = Field(0, alias="ModifyIndex")


class NodeServices(_Answer):
    """`catalog/node/<node>`."""

    instances: Annotated[dict[str, Registration], BeforeValidator(_or_empty_map)] = Field(
        {}, alias="Services"
    )


SERVICES: TypeAdapter[dict[str, Tags]] = TypeAdapter(dict[str, Tags])
NODES = TypeAdapter(list[Node])
CHECKS = TypeAdapter(list[Check])
NODE_SERVICES: TypeAdapter[NodeServices | None] = TypeAdapter(NodeServices | None)
ENTRIES = TypeAdapter(list[object])
"""Elements are read one by one by `ENTRY`, so that one bad instance does not cost the others."""
ENTRY = TypeAdapter(Entry)
