"""Who may open a stream, and what it is given: invariant 9, identity first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import grpc
import structlog

from ca import control_plane
from ca.errors import CaError, UnusablePeer
from ca.peer import Proved, parse_node_id, proved
from mesh.errors import InvalidName
from mesh.identity import Identity
from mesh.names import Key
from meshwright.keeper import SecretKeeper
from meshwright.pipeline import Pipeline
from meshwright.publisher import client_id
from pb.envoy.config.core.v3.base_pb2 import Node
from xds.server import Client, Peer, Refused

log = structlog.get_logger(__name__)

CERTIFICATE = "x509_pem_cert"
"""The entry of gRPC's auth context that holds the peer's verified leaf."""


class Doors:
    """Answers for the xDS server who a stream is.

    Over mutual TLS, the certificate says which workload the proxy is, and `node.id` must say the same. In plaintext, which is
    served on loopback alone and only when asked for, `node.id` is taken at its word and no keys are given. A
    workload that no source has named yet waits; it is not refused.
    """

    def __init__(self, trust_domain: str, pipeline: Pipeline, keeper: SecretKeeper) -> None:
        self._trust_domain = trust_domain
        self._pipeline = pipeline
        self._keeper = keeper
        self._proved_by: dict[str, Proved] = {}

    async def identify(self, node: Node, peer: Peer) -> Client:
        """The client and its scopes. Refused, with the reason, if it may not have what it asks for."""
        try:
            workload = parse_node_id(node.id)
        except InvalidName as error:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT, f"node.id is not <namespace>/<workload>: {error}"
            ) from error
        holder = self._proved(workload, peer)
        if holder is not None:
            try:
                await self._keeper.give(holder.identity, workload)
            except CaError as error:
                raise Refused(grpc.StatusCode.UNAVAILABLE, str(error)) from error
            self._proved_by[client_id(workload)] = holder
        if workload not in self._pipeline.state.workloads:
            log.warning(
                "a proxy waits: no source declares its workload", proxy=str(workload), peer=peer.address
            )
        proxyless = node.user_agent_name.startswith("gRPC")
        scopes = self._pipeline.attach(workload, proved=holder is not None, proxyless=proxyless)
        return Client(client_id(workload), scopes)

    def expected_identity(self, workload: Key) -> Identity | None:
        """The identity that discovery gives `workload`; None while it is not discovered."""
        found = self._pipeline.state.workloads.get(workload)
        return found.identity(self._trust_domain) if found else None

    def stale(self, now: datetime) -> Iterator[tuple[str, str]]:
        """The clients whose proof no longer holds, and why. A stream outlives the certificate it was opened with."""
        for client, holder in self._proved_by.items():
            expected = self.expected_identity(holder.workload)
            if holder.not_after <= now:
                yield (
                    client,
                    "the certificate of this connection has ended: connect again with the renewed one",
                )
            elif expected is not None and expected != holder.identity:
                yield client, f"this workload is {expected} by now: join again"

    def left(self, client: str) -> None:
        """No stream of `client` is open any more."""
        self._proved_by.pop(client, None)

    def _proved(self, workload: Key, peer: Peer) -> Proved | None:
        """What the connection proved; None on a plaintext connection."""
        pem = peer.auth.get(CERTIFICATE)
        if not pem:
            return None
        try:
            holder = proved(pem[0])
        except UnusablePeer as error:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error
        if (
            control_plane.is_control_plane(holder.identity)
            or holder.identity.trust_domain != self._trust_domain
        ):
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED, f"{holder.identity} is no workload of {self._trust_domain}"
            )
        if holder.workload != workload:
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"node.id says {workload}, but the certificate was issued to {holder.workload}: join as {workload}",
            )
        expected = self.expected_identity(workload)
        if expected is not None and expected != holder.identity:
            raise Refused(
                grpc.StatusCode.PERMISSION_DENIED,
                f"workload {workload} is {expected} by now, but its certificate says {holder.identity}: join again",
            )
        return holder
