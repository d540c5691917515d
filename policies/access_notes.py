"""What an access policy says in vain where it is attached, and what its coming means there: for whoever writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from immutables import Map

from mesh.merge import thawed
from mesh.names import Key
from mesh.policy import Policy
from mesh.service import Protocol, ServicePort
from mesh.state import MeshState
from mesh.targeting import Level, TargetRef
from policies.access_conditions import NEVER
from policies.access_fields import AccessFields, RuleFields
from policies.access_rules import of_rule
from policies.kind import Side, Where

TOKENS, LOGS = "RequestAuthentication", "AccessLog"
KIND = "AccessPolicy"
MANY = 5
"""Ports that are named; of more, only how many there are."""


def notes(state: MeshState, policy: Policy, target: TargetRef) -> Iterator[str]:
    """A sentence for each."""
    bare = [each for each in _members(state, target) if not state.workloads[each].meshed]
    if bare:
        more = f" and {len(bare) - 1} more" if bare[1:] else ""
        yield f"nothing is enforced at workload {bare[0]}{more}: there is no sidecar"
    if not _asks(policy):  # thousands of policies may be told of, and most name callers alone
        return
    fields = AccessFields.model_validate(thawed(policy.fields))
    places = tuple(_places(state, policy, target))
    for number, rule in enumerate(fields.rules or ()):
        yield from (f"rules[{number}]: {said}" for said in _rule(fields, rule, places))
    if fields.action == "audit" and not _attached(state, LOGS, target):
        yield f"calls are counted at {target}, but written nowhere: no {LOGS} concerns it"
    claims = {each for rule in fields.rules or () for when in rule.when or () for each in when.steps()[:1]}
    if claims and not _attached(state, TOKENS, target):
        yield f"no request has a claim at {target}, not {', '.join(sorted(claims))} either: no {TOKENS} verifies tokens there"
    if fields.dry_run and (fields.action == "allow" or fields.default):
        others = sorted(each for each in _attached(state, KIND, target) if _allows(state, each))
        if others:
            yield (
                f"on trial it refuses nothing at {target}: there, only what is allowed is let in already, by {KIND} {others[0]}"
                f"{f' and {len(others) - 1} more' if others[1:] else ''}"
            )


def news(old: MeshState, new: MeshState, policy: Policy, target: TargetRef) -> Iterator[str]:
    """What changes for everybody when the first policy comes that lets in only some."""
    if not _allows(new, policy.key):
        return
    before = any(_allows(old, each) for each in _attached(old, KIND, target))
    if not before:
        yield f"from now on {target} lets in only what an {KIND} allows; all else is refused"


def _asks(policy: Policy) -> bool:
    """Whether there is more to it than callers that it allows or denies."""
    said, rules = policy.fields, policy.fields.get("rules")
    if said.get("action") == "audit" or said.get("dryRun"):
        return True
    given = rules if isinstance(rules, tuple) else ()
    return any(isinstance(rule, Map) and not {"to", "when"}.isdisjoint(rule) for rule in given)


def _allows(state: MeshState, key: Key) -> bool:
    """Whether a policy of that key is in force, and lets in only some."""
    found = state.policies.policies.get((KIND, key))
    return (
        found is not None
        and not found.fields.get("dryRun")
        and found.fields.get("action") not in {"deny", "audit"}
    )


def _attached(state: MeshState, kind: str, target: TargetRef) -> set[Key]:
    """The policies of `kind` that concern all of `target`: those of it, and of what it is part of."""
    wider = [TargetRef.mesh()]
    if target.level is not Level.MESH:
        wider.append(TargetRef.of_namespace(target.namespace))
    key = Key(target.namespace, target.name)
    if target.level is Level.WORKLOAD and key in state.workloads:
        wider += [TargetRef.service(each) for each in state.workloads[key].services]
    return {
        each.key
        for at in dict.fromkeys((*wider, target))
        for each in state.policies.attached.get((kind, at), ())
    }


def _members(state: MeshState, target: TargetRef) -> tuple[Key, ...]:
    """The workloads that a service or a workload as target means."""
    key = Key(target.namespace, target.name)
    if target.level is Level.SERVICE:
        return state.members.get(key, ())
    return (key,) if target.level is Level.WORKLOAD and key in state.workloads else ()


def _places(state: MeshState, policy: Policy, target: TargetRef) -> Iterator[Where]:
    """The ports of the services that `target` names itself. Of a namespace or the mesh none: what is in vain at one is not at another."""
    key = Key(target.namespace, target.name)
    services: tuple[Key, ...] = ()
    if target.level is Level.SERVICE:
        services = (key,)
    elif target.level is Level.WORKLOAD and key in state.workloads:
        services = state.workloads[key].services
    for service in services:
        for port in state.services[service].ports if service in state.services else ():
            yield _where(state, policy, service, port)


def _where(state: MeshState, policy: Policy, service: Key, port: ServicePort) -> Where:
    return Where(
        Side.CALLEE,
        state.trust_domain,
        service,
        port=port.port,
        protocol=port.protocol,
        policy=str(policy.key),
        port_name=port.name,
    )


def _rule(fields: AccessFields, rule: RuleFields, places: tuple[Where, ...]) -> Iterator[str]:
    # Of callers nothing is asked here: who is there is another question.
    asked = rule.model_copy(update={"from_": None})
    unseen = []
    for place in places:
        if place.protocol.is_http or not asked.asks_requests:
            continue
        as_requests = of_rule(asked, fields, replace(place, protocol=Protocol.HTTP))
        if of_rule(asked, fields, place) != as_requests:
            unseen.append(place)
    if unseen and fields.action == "allow":
        yield f"it never applies on {_named(unseen)}: there are no requests there"
    elif unseen:
        yield (
            f"it applies to every connection on {_named(unseen)} that meets the rest of it: requests are not seen there. Name ports in it, to leave "
            "those out"
        )
    if places and all(of_rule(asked, fields, each) == NEVER for each in places) and not unseen:
        yield f"no effect: the ports that it names are none of {_named(list(places))}"


def _named(places: list[Where]) -> str:
    if len(places) > MANY:
        return f"{len(places)} ports of TCP"
    return ", ".join(f"port {each.port} ({each.protocol}) of service {each.service}" for each in places)
