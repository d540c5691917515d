"""From the policies in force to what they add to the rendering of one service, or of one sidecar's listeners."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from immutables import Map
from pydantic import ValidationError

from envoy import names
from envoy.route_extensions import AUTHORIZATION_FILTER, CORS_FILTER, SESSION_FILTER
from envoy.seams import (
    NO_POLICIES,
    NOTHING,
    GatewaySeams,
    HttpFilter,
    ListenerSeams,
    Parts,
    RuleName,
    ServiceSeams,
)
from mesh.gateway_views import GatewayView
from mesh.localities import Spread
from mesh.merge import Attachment, Fields, Merged, freeze, thawed
from mesh.names import Key
from mesh.policy import Place, PolicyName
from mesh.rules import RuleView
from mesh.service import Protocol
from mesh.state import MeshState
from mesh.targeting import CallerRef, TargetRef
from mesh.transport import Passage, TlsMode
from mesh.views import Called, InboundView, OutboundScope, ServiceView
from mesh.workload import Workload
from policies import unions
from policies.kind import SOME_WORKLOAD, PolicyKind, Side, Where
from policies.registry import POLICIES
from policies.transport import Transport, not_told_apart

REMEMBERED = 20_000
"""Effects that are remembered, about: mostly one for each service and policy that differs by service."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: what is said at `place`, for the rendering of `where`, to callers of `facets`. `rule`: the rule of a route that is
    asked for. What is left out, and why, is noted in `problems`, by subject.
    """

    state: MeshState
    place: Place
    where: Where
    problems: dict[str, str]
    facets: frozenset[PolicyName] = frozenset()
    rule: RuleView | None = None


@dataclass(slots=True)
class Weaver:
    """Remembers what policies come to, so that equal ones are validated and turned into messages once."""

    kinds: tuple[PolicyKind, ...] = POLICIES
    # By who was told: what one scope sees without harm takes nothing back that another was told.
    _of_services: dict[OutboundScope, dict[Key, dict[str, str]]] = field(default_factory=dict)
    _of_workloads: dict[Key, dict[str, str]] = field(default_factory=dict)
    _made: dict[Hashable, Parts | str] = field(default_factory=dict)
    _spreads: dict[Hashable, Spread | None] = field(default_factory=dict)
    _united: dict[Hashable, unions.Made] = field(default_factory=dict)
    _mentions: unions.Mentions = field(default_factory=unions.Mentions)
    _transport: Transport | None = None

    def beside(self) -> Weaver:
        """One for another state of the mesh: it shares what is remembered of policies, and has problems of its own."""
        return Weaver(self.kinds, _made=self._made, _spreads=self._spreads, _united=self._united)

    @property
    def filters(self) -> tuple[HttpFilter, ...]:
        """What stands in every connection manager, disabled."""
        standing = (CORS_FILTER, SESSION_FILTER, AUTHORIZATION_FILTER)
        return (*standing, *(each for kind in self.kinds for each in kind.filters))

    @property
    def by_callers(self) -> frozenset[str]:
        """The kinds that callers enforce, so that proxies may differ in which policies `from` some callers concern them."""
        return frozenset(kind.name for kind in self.kinds if kind.side & Side.CALLER)

    @property
    def problems(self) -> dict[str, str]:
        """Which policies are left out, and why, by kind and place."""
        of_services = (each for of in self._of_services.values() for each in of.values())
        return {
            subject: why
            for told in (*of_services, *self._of_workloads.values())
            for subject, why in told.items()
        }

    def forget_service(self, scope: OutboundScope, service: Key) -> None:
        """Callers of `scope` see `service` no more: nothing is wrong with it for them."""
        self._tell(scope, service, {})

    def forget_scope(self, scope: OutboundScope) -> None:
        """Nobody has `scope` any more."""
        self._of_services.pop(scope, None)

    def forget_workload(self, workload: Key) -> None:
        """The proxy of `workload` is gone."""
        self._of_workloads.pop(workload, None)

    def _tell(self, scope: OutboundScope, service: Key, problems: dict[str, str]) -> None:
        if problems:
            self._of_services.setdefault(scope, {})[service] = problems
        elif self._of_services and (told := self._of_services.get(scope)) is not None:
            told.pop(service, None)
            if not told:
                del self._of_services[scope]

    def _tell_workload(self, workload: Key, problems: dict[str, str]) -> None:
        if problems:
            self._of_workloads[workload] = problems
        else:
            self._of_workloads.pop(workload, None)

    def service(self, state: MeshState, scope: OutboundScope, view: ServiceView) -> ServiceSeams:
        """For a service as callers of `scope` see it."""
        rules = {(rule.route, rule.place): rule for _, of_port in view.routes for rule in of_port}
        if not state.policies.policies and not any(each.timeouts or each.retry for each in rules.values()):
            self.forget_service(scope, view.key)
            return NO_POLICIES
        protocol = next((port.protocol for port in view.ports if port.protocol.is_http), Protocol.TCP)

        def where(*, route: bool) -> Where:
            return Where(Side.CALLER, state.trust_domain, view.key, protocol=protocol, route=route)

        place, problems = Place(view.key.namespace, view.key), dict[str, str]()
        asked = Asked(state, place, where(route=False), problems, scope.facets)
        whole = self._parts(asked, Side.CALLER)
        made: list[tuple[RuleName, Parts]] = []
        for name, rule in rules.items():
            at = replace(place, route=rule.route)
            asked = Asked(state, at, where(route=True), problems, scope.facets, rule)
            made.append((name, self._parts(asked, Side.CALLER)))
        self._tell(scope, view.key, problems)
        return ServiceSeams(whole, tuple(made))

    def spread(self, state: MeshState, scope: OutboundScope, service: Key) -> Spread | None:
        """How callers of `scope` spread their calls to `service` over localities; None: all are equal."""
        if not state.policies.by_locality:
            return None
        found: Spread | None = None
        for kind in self.kinds:
            if kind.spread is None:
                continue
            fields = state.policies.merged(kind.name, Place(service.namespace, service), scope.facets).fields
            key = kind.name, fields
            if key not in self._spreads:
                if len(self._spreads) >= REMEMBERED:
                    self._spreads.clear()
                self._spreads[key] = _spread(kind, fields)
            found = found or self._spreads[key]
        return found

    def called(self, state: MeshState, service: Key, modes: frozenset[TlsMode]) -> Called | None:
        """As `policies.transport.called`, once for all scopes of one state."""
        if self._transport is None or self._transport.state is not state:
            self._transport = Transport(state)
        return self._transport.called(service, modes)

    def listeners(self, state: MeshState, workload: Workload, inbound: InboundView) -> ListenerSeams:
        """For what the sidecar of `workload` listens on."""
        filters = self.filters
        if not state.policies.policies and not state.passing:
            self.forget_workload(workload.key)
            return ListenerSeams(filters=filters)
        problems: dict[str, str] = {}
        # What targets the service that it is concerns its own calls, too; of several, the first.
        service = workload.services[0] if workload.services else None
        own = Place(workload.key.namespace, service, workload.key)
        identity = workload.identity(state.trust_domain).uri
        calls = Where(Side.CALLER, state.trust_domain, workload=workload.key, identity=identity)
        outbound = self._parts(Asked(state, own, calls, problems), Side.LISTENER)
        chains: list[tuple[str, Parts]] = []
        for port in inbound.ports:
            for served in port.served:
                where = Where(
                    Side.CALLEE,
                    state.trust_domain,
                    served.service,
                    workload.key,
                    identity,
                    served.port.port,
                    served.port.protocol,
                    port_name=served.port.name,
                    aliases=state.aliases,
                    former=state.former,
                )
                place = Place(served.service.namespace, served.service, workload.key)
                parts = self._parts(Asked(state, place, where, problems), Side.CALLEE | Side.LISTENER)
                if Passage(workload.key, served.service, served.port.port) in state.passing:
                    parts = replace(parts, plaintext=True)
                if parts:
                    chains.append((names.inbound_chain(served.service, served.port), parts))
            problems.update(not_told_apart(port, dict(chains)))
        self._tell_workload(workload.key, problems)
        return ListenerSeams(outbound, tuple(chains), filters)

    def gateway(
        self, state: MeshState, workload: Workload, view: GatewayView, facets: frozenset[PolicyName]
    ) -> GatewaySeams:
        """For the gateway of `view`, which `workload` plays: to those outside it is the callee, to services a caller of `facets`."""
        rules = {
            (rule.route, rule.place): rule
            for port in view.ports
            for host in port.hosts
            for rule in host.rules
        }
        if not state.policies.policies and not any(each.timeouts or each.retry for each in rules.values()):
            self.forget_workload(workload.key)
            return GatewaySeams(filters=self.filters)
        problems: dict[str, str] = {}
        place = Place(workload.key.namespace, workload=workload.key)
        identity = workload.identity(state.trust_domain).uri

        def here(port: int | None, *, http: bool) -> Asked:
            protocol = Protocol.HTTP if http else Protocol.TCP
            where = Where(
                Side.CALLEE,
                state.trust_domain,
                view.key,
                workload.key,
                identity,
                port,
                protocol,
                gateway=True,
                aliases=state.aliases,
                former=state.former,
            )
            return Asked(state, place, where, problems)

        handled = sorted({(port.port, chain.http) for port in view.ports for chain in port.chains})
        ports = tuple(
            ((port, http), self._parts(here(port, http=http), Side.CALLEE | Side.LISTENER))
            for port, http in handled
        )
        # Of what is taken, the part that is said on routes.
        taken = {
            kind.name: [
                Parts(action=each.action, route=each.route, resources=each.resources, origin=each.origin)
                for each in self._of(kind, here(None, http=True))
            ]
            for kind in self.kinds
            if kind.side & (Side.CALLEE | Side.LISTENER)
        }
        made: list[tuple[RuleName, Parts]] = []
        for name, rule in rules.items():
            services = {each.service for each in rule.backends}
            service = next(iter(services)) if len(services) == 1 else None
            at = Place(service.namespace if service else rule.route.key.namespace, service, route=rule.route)
            where = Where(Side.CALLER, state.trust_domain, service, route=True)
            asked, parts = Asked(state, at, where, problems, facets, rule), NOTHING
            for kind in self.kinds:
                called = self._of(kind, asked) if kind.side & Side.CALLER else []
                parts += _joined(kind, [each for each in (*taken.get(kind.name, ()), *called) if each], asked)
            made.append((name, parts))
        self._tell_workload(workload.key, problems)
        return GatewaySeams(ports, self.filters, ServiceSeams(NOTHING, tuple(made)))

    def _parts(self, asked: Asked, sides: Side) -> Parts:
        """What all kinds that are enforced on one of `sides` add at a place."""
        return sum(
            (_joined(kind, self._of(kind, asked), asked) for kind in self.kinds if kind.side & sides),
            NOTHING,
        )

    def _of(self, kind: PolicyKind, asked: Asked) -> list[Parts]:
        """What one kind adds at a place: one for each policy of a union that are not taken together, else one at most."""
        if kind.together is not None:
            return [self._together(kind, asked)]
        said = (each for each in self._said(kind, asked) if each[0].fields)
        return [self._effect(kind, merged, asked, callers) for merged, callers in said]

    def _said(self, kind: PolicyKind, asked: Asked) -> Iterator[tuple[Merged, tuple[str, ...]]]:
        """What is said at a place: once, merged; or for a kind whose policies are a union, each by itself with its callers' ids."""
        state, place, facets, rule = asked.state, asked.place, asked.facets, asked.rule
        if kind.union:
            for each in unions.attached(kind, state, place):
                merged = Merged(each.fields.set("policy", str(each.key)), Map(), each.origin)
                if asked.where.side is Side.CALLER:  # These are told apart by what each is given.
                    if not each.callers or (kind.name, each.key) in facets:
                        yield merged, ()
                    continue
                yield (
                    merged,
                    tuple(sorted(identities(state, each.callers))) or _nobody(state, each.callers),
                )
            return
        if (
            rule is not None
            and kind.side & (Side.LISTENER | Side.CALLEE)
            and not state.policies.attached.get((kind.name, TargetRef.route(rule.route)))
        ):
            # What holds for all that a sidecar handles is said there: a route only says what is its own.
            return
        inline: tuple[Attachment, ...] = ()
        if rule is not None and kind.inline is not None:
            try:
                fields = kind.inline(rule)
            except Exception as error:  # noqa: BLE001 (one rule that says what nobody foresaw must not take the service with it)
                fields = {}
                why = f"what rule {rule.place} itself says is left out: {type(error).__name__}: {error}"
                asked.problems[f"{kind.name} at {_named(place)}, rule {rule.place}"] = why
            if fields:
                target = TargetRef.inline(rule.route)
                inline = (Attachment(rule.route.key, target, freeze(fields), origin=rule.origin),)
        merged = state.policies.merged(kind.name, place, facets, inline, whole=kind.whole)
        if kind.named and merged.fields:
            names = ", ".join(sorted({str(each) for each in merged.origins.values()}))
            merged = replace(merged, fields=merged.fields.set("policy", names))
        yield merged, ()

    def _together(self, kind: PolicyKind, asked: Asked) -> Parts:
        found = unions.attached(kind, asked.state, asked.place)
        if not found:
            return NOTHING
        where = asked.where if asked.where.workload is None else replace(asked.where, workload=SOME_WORKLOAD)
        policies = unions.resolved(kind, asked.state, found, self._mentions)
        key = (kind.name, policies, where)
        made = self._united.get(key)
        if made is None:
            if len(self._united) >= REMEMBERED:
                self._united.clear()
            made = self._united[key] = unions.made(kind, policies, where)
        origin = tuple(dict.fromkeys(document for each in found for document in each.origin))
        if made.problem:
            asked.problems[f"{kind.name} at {_named(asked.place)}"] = f"{', '.join(origin)}: {made.problem}"
        return _with_origin(made.parts, origin) if made.parts else NOTHING

    def _effect(self, kind: PolicyKind, merged: Merged, asked: Asked, callers: tuple[str, ...]) -> Parts:
        where = asked.where
        if where.workload is not None and not (kind.by_workload and kind.by_workload(merged.fields)):
            where = replace(where, workload=SOME_WORKLOAD)
        key = (kind.name, merged.fields, where, callers)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= REMEMBERED:
                self._made.clear()
            made = self._made[key] = _made(kind, merged.fields, where, callers)
        if isinstance(made, str):
            became = "left out" if kind.closed is None else "everything is refused"
            why = f"{', '.join(merged.documents)}: {became}: {made}"
            asked.problems[_subject(kind, merged, asked.place)] = why
            if kind.closed is None:
                return NOTHING
            policy = str(merged.fields.get("policy", ""))
            return _with_origin(kind.closed(where.of(policy, callers)), merged.documents)
        return made if not made or made.origin == merged.documents else _with_origin(made, merged.documents)


def _subject(kind: PolicyKind, merged: Merged, place: Place) -> str:
    own = f" {merged.fields['policy']}" if kind.union else ""
    return f"{kind.name}{own} at {_named(place)}"


def _joined(kind: PolicyKind, made: Sequence[Parts], asked: Asked) -> Parts:
    """What one kind adds at a place, as one; nothing, and why, where that cannot be."""
    if kind.join is None or len(made) <= 1:
        return sum(made, NOTHING)
    origin = dict.fromkeys(document for each in made for document in each.origin)
    try:
        return replace(kind.join(made), origin=tuple(origin))
    except Exception as error:  # noqa: BLE001 (what cannot be joined must not take the service with it)
        why = f"{', '.join(origin)}: left out: together: {type(error).__name__}: {error}"
        asked.problems[f"{kind.name} at {_named(asked.place)}"] = why
        return NOTHING


def _made(kind: PolicyKind, fields: Fields, where: Where, callers: tuple[str, ...]) -> Parts | str:
    """The effect, or why there can be none: what several policies say together may be wrong though each by itself is right."""
    said = thawed(fields)
    policy = str(said.pop("policy", ""))
    try:
        settings = kind.fields.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    try:
        return kind.effect(settings, where.of(policy, callers))
    except Exception as error:  # noqa: BLE001 (one policy that cannot be rendered must not take the service with it)
        return f"{type(error).__name__}: {error}"


def _spread(kind: PolicyKind, fields: Fields) -> Spread | None:
    """None where the fields say nothing, or are wrong together: then the effect of the same fields says so, and is left out too."""
    assert kind.spread is not None  # noqa: S101 (the caller's condition)
    try:
        return kind.spread(kind.fields.model_validate(thawed(fields)))
    except ValidationError:
        return None


def identities(state: MeshState, callers: Iterable[CallerRef]) -> Iterator[str]:
    """The SPIFFE ids of the workloads that `callers` mean; of a whole namespace, its prefix, which ends in a slash."""
    for ref, trust_domain in itertools.product(callers, state.trust_domains.callers):
        prefix = f"spiffe://{trust_domain}/ns/{ref.namespace}/"
        if ref.service_account is not None:
            yield f"{prefix}sa/{ref.service_account}"
        elif ref.service is not None:
            service = Key(ref.namespace, ref.service)
            if service in state.services:
                known = state.caller_identities(service)
                yield from (each.uri for each in known if each.trust_domain == trust_domain)
        elif ref.workload is not None:
            found = state.workloads.get(Key(ref.namespace, ref.workload))
            if found is not None:
                yield found.identity(trust_domain).uri
        else:
            yield prefix


def _nobody(state: MeshState, callers: Iterable[CallerRef]) -> tuple[str, ...]:
    """Where callers are named and none is there: an id that nobody has, for no id at all would mean everyone."""
    return (f"spiffe://{state.trust_domain}/nobody",) if any(True for _ in callers) else ()


def _named(place: Place) -> str:
    if place.route is not None:
        return f"{place.route.kind} {place.route.key}"
    if place.service is not None:
        return f"service {place.service}"
    return f"workload {place.workload}" if place.workload is not None else f"namespace {place.namespace}"


def _with_origin(parts: Parts, origin: tuple[str, ...]) -> Parts:
    return replace(parts, origin=origin)
