"""Who may open a stream, and what it is given: invariant 9, identity first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import grpc
import structlog

from ca import control_plane
from ca.errors import CaError, UnusablePeer
from ca.peer import Proved, parse_node_id
from ca.peer import proved as proved_by
from envoy import names
from mesh.errors import InvalidName
from mesh.identity import Identity
from mesh.names import Key
from meshwright.keeper import SecretKeeper
from meshwright.pipeline import Pipeline
from meshwright.publisher import client_id
from pb.envoy.config.core.v3.base_pb2 import Node
from xds.server import Client, Peer, Refused
from xds.stream import Stream

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
        # Is told of each workload a proxy of which opens a stream.
        self.came: Callable[[Key], None] = lambda _: None

    async def identify(self, node: Node, peer: Peer) -> Client:
        """The client and its scopes. Refused, with the reason, if it may not have what it asks for."""
        workload, holder = self.who(node, peer)
        if holder is not None and _has_keys(node):
            self._keeper.issue_none(workload)
        elif holder is not None:
            try:
                await self._keeper.give(holder.identity, workload)
            except CaError as error:
                raise Refused(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        if workload not in self._pipeline.state.workloads:
            log.warning(
                "a proxy waits: no source declares its workload", proxy=str(workload), peer=peer.address
            )
        proxyless = node.user_agent_name.startswith("gRPC")
        proved = holder is not None
        if proved:
            self.came(workload)
        scopes = self._pipeline.attach(workload, proved=proved, proxyless=proxyless, envoy=version_of(node))
        return Client(client_id(workload, proved=proved, proxyless=proxyless), scopes, proof=holder)

    def who(self, node: Node, peer: Peer) -> tuple[Key, Proved | None]:
        """Whose proxy speaks, and what it has proved; None in plaintext. Refused if it is not what it says."""
        try:
            workload = parse_node_id(node.id)
        except InvalidName as error:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT, f"node.id is not <namespace>/<workload>: {error}"
            ) from error
        return workload, self._proved(workload, peer)

    def expected_identity(self, workload: Key) -> Identity | None:
        """The identity that discovery gives `workload`; None while it is not discovered."""
        found = self._pipeline.state.workloads.get(workload)
        return found.identity(self._trust_domain) if found else None

    def may_see(self, peer: Peer, stream: Stream) -> bool:
        """Whether CSDS tells `peer` of `stream`: a workload sees its own streams, and plaintext sees plaintext."""
        pem = peer.auth.get(CERTIFICATE)
        if not pem or not isinstance(stream.proof, Proved):
            return not pem and stream.proof is None
        try:
            return proved_by(pem[0]).workload == stream.proof.workload
        except UnusablePeer:
            return False  # a certificate of ours that is no workload's, such as the control plane's own

    def stale(self, proof: object, now: datetime) -> str | None:
        """Why the proof that a stream was opened with no longer holds; None if it does. A stream outlives its certificate."""
        if not isinstance(proof, Proved):
            return None
        expected = self.expected_identity(proof.workload)
        if proof.not_after <= now:
            return "the certificate of this connection has ended: connect again with the renewed one"
        if expected is not None and expected != self._own_name(proof.identity):
            return f"this workload is {expected} by now: join again"
        return None

    def _own_name(self, identity: Identity) -> Identity:
        return self._pipeline.state.trust_domains.own_name(identity)

    def _proved(self, workload: Key, peer: Peer) -> Proved | None:
        """What the connection proved; None on a plaintext connection."""
        pem = peer.auth.get(CERTIFICATE)
        if not pem:
            return None
        try:
            shown = proved_by(pem[0])
        except UnusablePeer as error:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error
        holder = replace(shown, identity=self._own_name(shown.identity))
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


def version_of(node: Node) -> str:
    """What a client is, to the minor version (`envoy 1.40`), as it says itself; empty if it does not say."""
    if not node.HasField("user_agent_build_version"):
        return ""
    version = node.user_agent_build_version.version
    return f"{node.user_agent_name[:32]} {version.major_number}.{version.minor_number}"


def _has_keys(node: Node) -> bool:
    """Whether the proxy says that its agent makes its key. Metadata narrows what a proxy gets: it is taken at its word."""
    said = node.metadata.fields
    return names.KEYS_OF in said and said[names.KEYS_OF].string_value == names.AGENT
