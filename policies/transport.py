"""Which endpoints are called in plaintext, from the MeshTLS policies in force."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
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
from mesh.workload import Workload
from policies.mesh_tls import MeshTlsFields, check_together

Lately = Mapping[tuple[Key, int], Sequence[str]]
"""Who spoke plaintext lately, in words, by service and the number of its port."""

NAMED = 5
"""Callers that a warning names."""


def modes(state: MeshState, service: Key) -> dict[tuple[Key, int], TlsMode]:
    """What each workload of `service` that has a sidecar takes, by workload and the number of the port. What is said in vain is left out:
    where plaintext cannot be told apart, a port is strict.
    """
    return Transport(state).modes(service)


def called(state: MeshState, service: Key, modes: frozenset[TlsMode]) -> Called | None:
    """How callers that speak plaintext in `modes` call the endpoints of `service`; None: in mesh TLS, all of them that have a sidecar."""
    return Transport(state).called(service, modes)


def changed(old: MeshState, new: MeshState) -> bool:
    """Whether some policy of TLS has come, gone, or says something else."""
    return bool(_written(old, new))


def _written(old: MeshState, new: MeshState) -> list[DocumentName]:
    if old.policies is new.policies:
        return []
    before, after = old.policies, new.policies
    names = {*before.by_transport, *after.by_transport}
    return sorted(name for name in names if before.policies.get(name) != after.policies.get(name))


def passages(old: Transport, new: Transport, service: Key) -> dict[Passage, TlsMode]:
    """The places of `service` that go from strict to off or back between the two, by what they become; those that are on their way in `old`
    still are. `new`: of a state in which nothing is on its way.
    """
    found: dict[Passage, TlsMode] = {}
    if service not in new.state.services:
        return found
    before, after = old.modes(service), new.modes(service)
    for member in new.state.members.get(service, ()):
        workload = old.state.workloads.get(member)
        if workload is None or not workload.meshed or not new.state.workloads[member].meshed:
            continue  # nobody can have called it in mesh TLS, or nobody will
        for port in new.state.services[service].ports:
            was = before.get((member, port.port), TlsMode.STRICT)
            will = after.get((member, port.port), TlsMode.STRICT)
            if will is TlsMode.PERMISSIVE or (was is will and not old.state.passing):
                continue
            place = Passage(member, service, port.port)
            if {was, will} == {TlsMode.STRICT, TlsMode.OFF} or place in old.state.passing:
                found[place] = will
    return found


def refused(old: MeshState, new: MeshState, lately: Lately) -> Iterator[tuple[DocumentName, str]]:
    """For each port that is strict in `new` and was not in `old`, though somebody spoke plaintext to it lately: whom it refuses, by the
    policy that came, changed or went and targets it.
    """
    written = _written(old, new)
    was, will = Transport(old), Transport(replace(new, passing=frozenset()))
    for service, number in sorted(lately) if written else ():
        if service not in new.services:
            continue
        before, after = was.modes(service), will.modes(service)
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


Shape = Hashable
"""What of a workload, besides its services, decides which of its ports tell plaintext apart: most workloads of a service are equal in it."""


@dataclass(slots=True)
class Transport:
    """What is said of `state`; each thing is reckoned once."""

    state: MeshState
    _of: dict[tuple[Key, Key | None], Mapping[int, TlsMode]] = field(default_factory=dict)
    _taken: dict[tuple[Key, Shape], Mapping[int, TlsMode]] = field(default_factory=dict)
    _called: dict[tuple[Key, frozenset[TlsMode]], Called | None] = field(default_factory=dict)
    _passing: frozenset[Key] | None = None

    def modes(self, service: Key) -> dict[tuple[Key, int], TlsMode]:
        """See `modes`."""
        return {
            (member, number): mode
            for member, taken in self._by_member(service)
            for number, mode in taken.items()
        }

    def called(self, service: Key, modes: frozenset[TlsMode]) -> Called | None:
        """See `called`."""
        key = service, modes
        if key not in self._called:
            places = frozenset(
                (member, number)
                for member, taken in self._by_member(service)
                for number, mode in taken.items()
                if mode in modes
            )
            self._called[key] = Plaintext(places).called if places else None
        return self._called[key]

    def _by_member(self, service: Key) -> Iterator[tuple[Key, Mapping[int, TlsMode]]]:
        state = self.state
        if not (state.policies.by_transport or state.passing) or service not in state.services:
            return
        for member in state.members.get(service, ()):
            workload = state.workloads[member]
            if workload.meshed:
                yield member, self._takes(service, workload)

    def _takes(self, service: Key, workload: Workload) -> Mapping[int, TlsMode]:
        """By the number of the port of `service`: strict where plaintext is not told apart."""
        own = workload.key if self._stands_out(workload.key) else None
        shape = service, (own, workload.services, workload.ports, workload.interception)
        taken = self._taken.get(shape)
        if taken is None:
            of = self._said(service, own)
            strict = all(mode is TlsMode.STRICT for mode in of.values())
            apart = frozenset[int]() if strict else self._told_apart(service, workload, own)
            taken = {number: mode if number in apart else TlsMode.STRICT for number, mode in of.items()}
            self._taken[shape] = taken
        return taken

    def _stands_out(self, workload: Key) -> bool:
        """Whether something is said of this one alone."""
        if self._passing is None:
            self._passing = frozenset(each.workload for each in self.state.passing)
        own = (MESH_TLS, TargetRef.workload(workload)) in self.state.policies.attached
        return own or workload in self._passing

    def _said(self, service: Key, own: Key | None) -> Mapping[int, TlsMode]:
        """By the number of the port of `service`. What is wrong together is left out, which the policy's effect says."""
        key = service, own
        if key not in self._of:
            merged = self.state.policies.merged(MESH_TLS, Place(service.namespace, service, own)).fields
            try:
                fields = MeshTlsFields.model_validate(thawed(merged))
                check_together(fields)
            except ValueError:
                fields = MeshTlsFields.model_validate({})
            numbers = (port.port for port in self.state.services[service].ports)
            self._of[key] = {
                number: TlsMode.PERMISSIVE
                if own is not None and Passage(own, service, number) in self.state.passing
                else fields.of(number)
                for number in numbers
            }
        return self._of[key]

    def _told_apart(self, service: Key, workload: Workload, own: Key | None) -> frozenset[int]:
        """The numbers of the ports of `service` at which the sidecar of `workload` takes plaintext, and knows what it is for."""

        def admits(served: Served) -> bool:
            return self._said(served.service, own)[served.port.port] in BY_OTHERS

        return frozenset(
            each.port.port
            for port in inbound_view(self.state, workload).ports
            if port.one_application and all(admits(each) for each in port.served)
            for each in port.served
            if each.service == service
        )
