"""Which endpoints are called in plaintext, from the MeshTLS policies in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from envoy import names
from envoy.seams import NOTHING, Parts
from mesh.events import DocumentName
from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Place
from mesh.state import MeshState
from mesh.targeting import Subject, TargetRef
from mesh.transport import BY_OTHERS, MESH_TLS, Passage, Plaintext, TlsMode
from mesh.views import Called, InboundPort, Served, inbound_view
from policies.mesh_tls import MeshTlsFields, check_together

Lately = Mapping[tuple[Key, int], Sequence[str]]
"""Who spoke plaintext lately, in words, by service and the number of its port."""

NAMED = 5
"""Callers that a warning names."""


def called(state: MeshState, service: Key, modes: frozenset[TlsMode]) -> Called | None:
    """How callers that speak plaintext in `modes` call the endpoints of `service`; None: in mesh TLS, all of them that have a sidecar."""
    if not (state.policies.by_transport or state.passing) or service not in state.services:
        return None
    asked = _Modes(state)
    places: set[tuple[Key, int]] = set()
    for member in state.members.get(service, ()):
        wanted = {number for number, mode in asked.of(service, member).items() if mode in modes}
        if wanted and state.workloads[member].meshed:
            places.update((member, number) for number in wanted & asked.told_apart(service, member))
    return Plaintext(frozenset(places)).called if places else None


def modes(state: MeshState, service: Key) -> dict[tuple[Key, int], TlsMode]:
    """What each workload of `service` that has a sidecar takes, by workload and the number of the port. What is said in vain is left out:
    where plaintext cannot be told apart, a port is strict.
    """
    found: dict[tuple[Key, int], TlsMode] = {}
    if not (state.policies.by_transport or state.passing) or service not in state.services:
        return found
    asked = _Modes(state)
    for member in state.members.get(service, ()):
        if state.workloads[member].meshed:
            of = asked.of(service, member)
            strict = all(mode is TlsMode.STRICT for mode in of.values())
            apart = frozenset[int]() if strict else asked.told_apart(service, member)
            for number, mode in of.items():
                found[member, number] = mode if number in apart else TlsMode.STRICT
    return found


def passages(old: MeshState, new: MeshState) -> dict[Passage, TlsMode] | None:
    """The places that go from strict to off or back between the two, by what they become; those that are on their way in `old` still are.
    None where no policy of TLS has changed.
    """
    if _same_policies(old, new):
        return None
    settled = replace(new, passing=frozenset())
    found: dict[Passage, TlsMode] = {}
    for service in sorted(new.services):
        before, after = modes(old, service), modes(settled, service)
        for member in new.members.get(service, ()):
            workload = old.workloads.get(member)
            if workload is None or not workload.meshed or not new.workloads[member].meshed:
                continue  # nobody can have called it in mesh TLS, or nobody will
            for port in new.services[service].ports:
                place = Passage(member, service, port.port)
                was = before.get((member, port.port), TlsMode.STRICT)
                will = after.get((member, port.port), TlsMode.STRICT)
                if {was, will} == {TlsMode.STRICT, TlsMode.OFF} or (
                    place in old.passing and will is not TlsMode.PERMISSIVE
                ):
                    found[place] = will
    return found


def refused(old: MeshState, new: MeshState, lately: Lately) -> Iterator[tuple[DocumentName, str]]:
    """For each port that is strict in `new` and was not in `old`, though somebody spoke plaintext to it lately: whom it refuses, by the
    policy that came, changed or went and targets it.
    """
    written = sorted(
        name
        for name in {*old.policies.by_transport, *new.policies.by_transport}
        if old.policies.policies.get(name) != new.policies.policies.get(name)
    )
    for service, number in sorted(lately) if written else ():
        if service not in new.services:
            continue
        before, after = modes(old, service), modes(replace(new, passing=frozenset()), service)
        strict = [
            member
            for member in new.members.get(service, ())
            if before.get((member, number), TlsMode.STRICT) is not TlsMode.STRICT
            and after.get((member, number), TlsMode.STRICT) is TlsMode.STRICT
        ]
        if strict:
            callers = lately[service, number]
            more = f" and {len(callers) - NAMED} more" if len(callers) > NAMED else ""
            why = (
                f"strict at service {service}, port {number}: callers that spoke plaintext to it within the last hour are refused now: "
                f"{', '.join(callers[:NAMED])}{more}. `meshwright plaintext` tells more; mode permissive takes them again"
            )
            yield _speaker(old, new, written, Subject(service.namespace, service, strict[0])), why


def _speaker(
    old: MeshState, new: MeshState, written: Sequence[DocumentName], subject: Subject
) -> DocumentName:
    """Of the policies that were written, the one that targets `subject`."""
    return next(
        name
        for name in written
        for state in (new, old)
        if (policy := state.policies.policies.get(name)) is not None
        and any(target.covers(subject) for target in policy.targets)
    )


def _same_policies(old: MeshState, new: MeshState) -> bool:
    names = {*old.policies.by_transport, *new.policies.by_transport}
    return old.policies is new.policies or all(
        old.policies.policies.get(each) == new.policies.policies.get(each) for each in names
    )


def not_told_apart(port: InboundPort, chains: Mapping[str, Parts]) -> Iterator[tuple[str, str]]:
    """By subject, why plaintext is not taken on a port of a sidecar though a policy says so. `chains`: what policies say, by filter chain."""
    of = {each: chains.get(names.inbound_chain(each.service, each.port), NOTHING) for each in port.served}
    willing = [each for each, parts in of.items() if parts.plaintext]
    if not willing or (port.one_application and len(willing) == len(of)):
        return
    others = ", ".join(names.inbound_chain(each.service, each.port) for each in of)
    for each in willing:
        why = (
            f"left out: port {port.sidecar_port} of the sidecar serves {others}, and plaintext does not say which of them is called: "
            "give each a sidecar port of its own"
        )
        yield f"{MESH_TLS} at service {each.service}, port {each.port.port}", why


@dataclass(slots=True)
class _Modes:
    """Asks each thing once: most workloads of a service are equal to policies."""

    state: MeshState
    _of: dict[tuple[Key, Key | None], Mapping[int, TlsMode]] = field(default_factory=dict)

    def of(self, service: Key, workload: Key) -> Mapping[int, TlsMode]:
        """By the number of the port of `service`. What is wrong together is left out, which the policy's effect says."""
        own = (MESH_TLS, TargetRef.workload(workload)) in self.state.policies.attached
        key = service, workload if own else None
        if key not in self._of:
            merged = self.state.policies.merged(MESH_TLS, Place(service.namespace, *key)).fields
            try:
                fields = MeshTlsFields.model_validate(thawed(merged))
                check_together(fields)
            except ValueError:
                fields = MeshTlsFields.model_validate({})
            self._of[key] = {port.port: fields.of(port.port) for port in self.state.services[service].ports}
        found = self._of[key]
        if self.state.passing:
            return {
                number: TlsMode.PERMISSIVE
                if Passage(workload, service, number) in self.state.passing
                else mode
                for number, mode in found.items()
            }
        return found

    def told_apart(self, service: Key, workload: Key) -> frozenset[int]:
        """The numbers of the ports of `service` at which the sidecar of `workload` takes plaintext, and knows what it is for."""

        def admits(served: Served) -> bool:
            return self.of(served.service, workload)[served.port.port] in BY_OTHERS

        return frozenset(
            each.port.port
            for port in inbound_view(self.state, self.state.workloads[workload]).ports
            if port.one_application and all(admits(each) for each in port.served)
            for each in port.served
            if each.service == service
        )
