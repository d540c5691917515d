"""From a cluster to the application: endpoints, mesh TLS, and what the sidecar there makes of a call."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from envoy import names
from explain import connections, filter_access, upstream
from explain.answer import Branch, Ending, Outcome, Step, split
from explain.connections import Dialled
from explain.local_replies import answered, closed
from explain.rbac import Peer
from explain.request import Request
from explain.resources import Resources
from explain.sight import Sight, listed
from explain.upstream import Target
from explain.wording import share
from explain.world import World, seen_from
from mesh.names import Key
from mesh.policy import Place
from mesh.service import ServicePort
from mesh.workload import Workload
from pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

if TYPE_CHECKING:
    from explain.walk import Walk

MOST = 200
"""Endpoints whose sidecars are looked at one by one; of more, so many stand for all."""
APPLICATION = ("inbound/", "captured/")
"""Begin the names of clusters that lead to a proxy's own application."""


class Arrivals:
    def __init__(self, world: World, walk: Walk) -> None:
        self._world, self._walk = world, walk

    def at_cluster(
        self, cluster: str, resources: Resources, request: Request | None, sight: Sight, of: Workload
    ) -> Branch:
        """What becomes of a request, or of a connection where it is None, that the proxy of `of` sends to `cluster`."""
        if cluster.startswith(APPLICATION) or cluster == names.CHECKS:
            return self._application(of, request, sight)
        if cluster in {names.PASSTHROUGH, names.UNKNOWN}:
            step = sight.step("cluster", "it leaves the mesh, for wherever it was going")
            return Branch((step,), Outcome(Ending.OUTSIDE, clusters=(cluster,), arrives=_arrives(request)))
        held = resources.cluster(cluster)
        if held is None:
            why, remedy = upstream.missing(cluster, self._world.state)
            why = f"the proxy has no cluster {cluster}: {why}"
            return Branch(
                (sight.step("cluster", why),), _unreached(request, why, remedy).with_cluster(cluster)
            )
        steps: tuple[Step, ...] = (upstream.described(held.message, sight),)
        assigned = resources.endpoints(cluster)
        assignment = assigned.message if assigned is not None else held.message.load_assignment
        found = upstream.targets(held.message, assignment, self._world.state)
        if held.message.type not in {held.message.EDS, held.message.STATIC}:
            return self._outside(cluster, steps, request, found)
        steps = (*steps, upstream.endpoints(cluster, found, sight))
        if not found:
            why, remedy = upstream.missing(cluster, self._world.state)
            step = sight.step("answer", f"503: {why}" if request is not None else why)
            return Branch((*steps, step), _unreached(request, why, remedy).with_cluster(cluster))
        return self._at_endpoints(cluster, found, request, sight, of).sent_to(cluster).after(*steps)

    def direct(
        self, cluster: str, found: tuple[Target, ...], request: Request | None, sight: Sight, of: Workload
    ) -> Branch:
        """For a caller without a sidecar, who calls one of `found` himself."""
        return self._at_endpoints(cluster, found, request, sight, of)

    def _outside(
        self, cluster: str, steps: tuple[Step, ...], request: Request | None, found: tuple[Target, ...]
    ) -> Branch:
        where = listed(tuple(f"{each.address}:{each.port}" for each in found)) or "wherever its name leads"
        step = Step("outside", f"it leaves the mesh, for {where}")
        return Branch((*steps, step), Outcome(Ending.OUTSIDE, clusters=(cluster,), arrives=_arrives(request)))

    def _at_endpoints(
        self, cluster: str, found: tuple[Target, ...], request: Request | None, sight: Sight, of: Workload
    ) -> Branch:
        """Endpoints where the same becomes of the request are told of together."""
        groups: dict[tuple[object, ...], list[tuple[Target, Branch]]] = {}
        for each in found[:MOST]:
            made = self._at(cluster, each, request, sight, of)
            groups.setdefault(_alike(made), []).append((each, made))
        total = sum(target.weight for members in groups.values() for target, _ in members)
        branches = []
        for members in groups.values():
            part = Fraction(sum(target.weight for target, _ in members), total)
            whose = listed(tuple(_whose(target) for target, _ in members))
            workloads = tuple(str(target.workload) for target, _ in members if target.workload is not None)
            made = _of_all(members[0][1], whose, workloads)
            branches.append(replace(made, share=part, label=f"{share(part)}, at {whose}" if part < 1 else ""))
        return split((), tuple(branches))

    def _at(
        self, cluster: str, target: Target, request: Request | None, sight: Sight, of: Workload
    ) -> Branch:
        """At one endpoint."""
        state = self._world.state
        callee = None if target.workload is None else state.workloads.get(target.workload)
        steps = (upstream.secured(target, sight, of),)
        if callee is None:
            step = Step("application", f"what listens on {target.address}:{target.port} answers")
            return Branch((*steps, step), Outcome(Ending.APPLICATION, arrives=_arrives(request)))
        called = names.called(cluster)
        key = called[0] if called is not None else None
        service = state.services.get(key) if key is not None else None
        port = (
            next((each for each in service.ports if called and each.port == called[1]), None)
            if service
            else None
        )
        if not callee.meshed:
            return self._application(callee, request, None).after(*steps)
        return self._taken(callee, key, port, target, request, of).after(*steps)

    def _taken(
        self,
        callee: Workload,
        service: Key | None,
        port: ServicePort | None,
        target: Target,
        request: Request | None,
        of: Workload,
    ) -> Branch:
        """By the sidecar of `callee`."""
        identity = self._world.identity(of) if target.tls is not None and of.meshed else None
        name = target.tls.sni if target.tls is not None else ""
        dialled = Dialled(target.address, target.port, name, tls=target.tls is not None)
        peer = Peer(identity, seen_from(of), target.port, name)
        takes = Place(service.namespace, service, callee.key) if service is not None else None
        here = Sight(callee.key, peer, self._world.blame(None), takes=takes, port=port)
        resources = self._world.resources(callee)
        listener = connections.taking(resources, dialled)
        if listener is None:
            why = f"the sidecar there does not listen on port {target.port}"
            return self._unreached(here, request, of, why, "Look at the ports of the workload")
        chain = connections.chain(listener.message, dialled)
        if chain is None:
            return self._no_chain(here, request, of, dialled)
        refused = self._handshake(callee, target, chain, identity)
        if refused is not None:
            return self._unreached(here, request, of, *refused)
        step = _met(here, dialled, identity)
        for each in connections.access(chain):
            passing = filter_access.connection(each, here)
            self._walk.cautions.update(dict.fromkeys(passing.cautions))
            if not passing.goes_on:
                outcome = passing.ended[0][1]
                if request is not None and of.meshed:
                    outcome = answered(request, 503, outcome.why, outcome.remedy)
                return Branch((step, *passing.steps), outcome)
            step = replace(step, sources=(*step.sources, *(one for s in passing.steps for one in s.sources)))
        manager = connections.manager(chain)
        if manager is not None and request is not None:
            arrived = replace(request, claims=None)
            return self._walk.http(manager, resources, arrived, here, callee).after(step)
        return self._application(callee, request, here).after(step)

    def _handshake(
        self, callee: Workload, target: Target, chain: FilterChain, identity: str | None
    ) -> tuple[str, str] | None:
        """Why the two do not agree on mesh TLS, and the way out; None: they do."""
        if target.tls is None:
            return None
        validation = target.tls.common_tls_context.combined_validation_context.default_validation_context
        accepted = [each.matcher.exact for each in validation.match_typed_subject_alt_names]
        own = self._world.identities(callee)
        if accepted and not set(accepted).intersection(own):
            why = f"the workload there proves to be {own[0]}, and {' or '.join(accepted)} is wanted"
            return (
                why,
                "Add its service account to `serviceAccounts` of the service, or correct the workload's",
            )
        terminated = connections.terminated(chain)
        if terminated is None or identity is None:
            return None
        wanted = terminated.common_tls_context.combined_validation_context.default_validation_context
        prefixes = [each.matcher.prefix for each in wanted.match_typed_subject_alt_names]
        if prefixes and not any(identity.startswith(each) for each in prefixes):
            why = f"the sidecar there lets in callers of {', '.join(prefixes)} only, and the caller is {identity}"
            return why, "Federate the two trust domains"
        return None

    def _no_chain(self, here: Sight, request: Request | None, of: Workload, dialled: Dialled) -> Branch:
        if dialled.tls:
            why = f"the sidecar there takes no TLS for {dialled.server_name} on port {dialled.port}"
            return self._unreached(here, request, of, why, "Look at the services that the workload serves")
        why = f"the sidecar there takes mesh TLS only on port {dialled.port}, and the call is plaintext"
        remedy = "Give the caller a sidecar, or let plaintext in by a MeshTLS policy of mode permissive"
        return self._unreached(here, request, of, why, remedy)

    def _unreached(
        self,
        here: Sight,
        request: Request | None,
        of: Workload,
        why: str,
        remedy: str,
    ) -> Branch:
        step = here.step("connection", f"closed: {why}", (), here.said("MeshTLS") if here.takes else ())
        # Who has a sidecar is answered by that.
        outcome = _unreached(request if of.meshed else None, why, remedy)
        return Branch((step,), outcome)

    def _application(self, of: Workload, request: Request | None, sight: Sight | None) -> Branch:
        said = "the application answers"
        step = Step("application", said, (), (), str(sight.proxy) if sight is not None else str(of.key))
        return Branch(
            (step,), Outcome(Ending.APPLICATION, workloads=(str(of.key),), arrives=_arrives(request))
        )

    # TCP

    def by_tcp(self, proxy: TcpProxy, resources: Resources, sight: Sight, of: Workload) -> Branch:
        """A connection that is passed on as it is."""
        if proxy.WhichOneof("cluster_specifier") != "weighted_clusters":
            if proxy.cluster == names.NOWHERE:
                why = "the service has no such port"
                return Branch((sight.step("connection", f"closed: {why}"),), closed(why))
            return self.at_cluster(proxy.cluster, resources, None, sight, of)
        clusters = proxy.weighted_clusters.clusters
        total = sum(each.weight for each in clusters)
        said = "; ".join(f"{share(Fraction(each.weight, total))} to {each.name}" for each in clusters)
        branches = []
        for each in clusters:
            if each.weight:
                part = Fraction(each.weight, total)
                made = self.at_cluster(each.name, resources, None, sight, of)
                branches.append(replace(made, share=part, label=f"{share(part)}: {each.name}"))
        return split((sight.step("split", said),), tuple(branches))


def _unreached(request: Request | None, why: str, remedy: str) -> Outcome:
    """An answer where the caller's sidecar can give one, else a closed connection."""
    return closed(why, remedy) if request is None else answered(request, 503, why, remedy)


def _arrives(request: Request | None) -> str:
    return "" if request is None else f"{request.method} {request.authority}{request.path}"


def _met(here: Sight, dialled: Dialled, identity: str | None) -> Step:
    if dialled.tls:
        return here.step(
            "connection", f"mesh TLS: the caller proves to be {identity}" if identity else "TLS", ()
        )
    return here.step(
        "connection", "plaintext is taken: nothing is known of who calls", (), here.said("MeshTLS")
    )


def _whose(target: Target) -> str:
    return str(target.workload) if target.workload is not None else f"{target.address}:{target.port}"


def _alike(made: Branch) -> tuple[object, ...]:
    """Equal for branches that say the same, but for whose proxy it is."""
    steps = tuple((each.stage, each.said, each.details, each.sources) for each in made.steps)
    outcome = None if made.outcome is None else replace(made.outcome, workloads=())
    return (steps, outcome, tuple((each.share, _alike(each)) for each in made.branches))


def _of_all(made: Branch, whose: str, workloads: tuple[str, ...]) -> Branch:
    """`made`, as what becomes of it at all of them."""
    own = made.outcome
    if own is not None and own.workloads:
        own = replace(own, workloads=workloads)
    return replace(
        made,
        steps=tuple(replace(each, proxy=whose) if each.proxy in workloads else each for each in made.steps),
        outcome=own,
        branches=tuple(_of_all(each, whose, workloads) for each in made.branches),
    )
