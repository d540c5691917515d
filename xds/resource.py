"""A resource: encoded once, as the very bytes that stand in a response."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds import wire
from xds.types import CLUSTER

Name = tuple[str, str]
"""A type URL and a resource's name."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Resource:
    """`version` is a hash of the content, so that it is the same after a restart and on every replica.

    `sotw` and `delta` are its entry in the two kinds of response. Beside the content, and never in the hash: `origin`, the documents
    and sources that made it; and `needs`, the resources that it refers to and that a client must have accepted before.
    `mark`: 64 bits that stand for name and version; those of several resources are combined by exclusive or.
    `endpoints`: of a cluster, the name of its ClusterLoadAssignment. `on_request`: clients that want that are given it only when they name
    it (see `on_request.py`).
    """

    type_url: str
    name: str
    version: str
    sotw: bytes = field(repr=False)
    delta: bytes = field(repr=False)
    mark: int = field(repr=False)
    origin: tuple[str, ...] = ()
    needs: tuple[Name, ...] = ()
    endpoints: str = ""
    on_request: bool = False

    @property
    def body(self) -> bytes:
        """The serialised message, taken out of the entry again: for dumps, not for the hot path."""
        length_at = 1
        while self.sotw[length_at] & 0x80:
            length_at += 1
        return Any.FromString(self.sotw[length_at + 1 :]).value


def encode(
    type_url: str,
    name: str,
    body: bytes,
    origin: tuple[str, ...] = (),
    needs: tuple[Name, ...] = (),
    *,
    on_request: bool = False,
) -> Resource:
    """The resource of the serialised message `body`."""
    version = hashlib.blake2b(body, digest_size=8).hexdigest()
    return Resource(
        type_url=type_url,
        name=name,
        version=version,
        sotw=wire.sotw_entry(type_url, body),
        delta=wire.delta_entry(type_url, name, version, body),
        mark=int.from_bytes(hashlib.blake2b(f"{name}\0{version}".encode(), digest_size=8).digest(), "big"),
        origin=origin,
        needs=needs,
        endpoints=_endpoints(name, body) if type_url == CLUSTER else "",
        on_request=on_request,
    )


def _endpoints(cluster: str, body: bytes) -> str:
    try:
        message = Cluster.FromString(body)
    except DecodeError:
        return cluster  # a client will say what is wrong with it
    return message.eds_cluster_config.service_name or cluster
