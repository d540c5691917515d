"""What was refused, waiting to be looked at: bounded, and by turns, so that who refuses much keeps nobody waiting."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from xds.resource import Resource
from xds.types import short_name

CLIENTS, OF_ONE = 1_000, 16
"""Clients of which something waits to be looked at, and how many refused resources of one. What is beyond that is not traced."""

About = tuple[str, str, str, str]
"""A refused resource: its type, its name, its version, and the version of Envoy."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A resource that a client refused. `identity`: what the client has proved to be, at one stream at least."""

    client: str
    identity: str | None
    resource: Resource
    message: str

    @property
    def about(self) -> str:
        return f"{short_name(self.resource.type_url)} {self.resource.name}"


class Waiting:
    """Refused resources, each once, by client."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, OrderedDict[tuple[str, str, str], Refused]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._of)

    def put(self, refused: Refused) -> None:
        """Where there is no room, it is not looked at."""
        if refused.client not in self._of and len(self._of) >= CLIENTS:
            return
        own, resource = self._of.setdefault(refused.client, OrderedDict()), refused.resource
        name = resource.type_url, resource.name, resource.version
        if len(own) < OF_ONE or name in own:
            own[name] = refused

    def take(self) -> Refused:
        """One of each client in turn. KeyError if there is none."""
        client, own = self._of.popitem(last=False)
        _, refused = own.popitem(last=False)
        if own:
            self._of[client] = own
        return refused
