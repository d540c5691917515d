"""From what access policies say to what is decided at one place: a normal form that Envoy's configuration is made of, and that the
evaluator of `access_verdict` reads.

A rule may be read in two ways. An `allow` applies only where its conditions *surely* hold, a `deny` (and an `audit`) already where an
application might take it so: a path with `//`, of which some applications see one slash, is allowed by no condition on paths, and
denied by each. What is negated is read the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from mesh.names import Key
from policies import access_patterns as patterns
from policies.access_conditions import (
    ALWAYS,
    NEVER,
    Address,
    Claim,
    Condition,
    Header,
    How,
    Identity,
    PathIs,
    Text,
    either,
    every,
    negated,
)
from policies.access_fields import (
    AccessFields,
    CallerFields,
    GrpcFields,
    RequestFields,
    RuleFields,
    WhenFields,
    asks_requests,
)
from policies.kind import Where

AMBIGUOUS: Final = either((PathIs(Text(How.CONTAINS, "//")), PathIs(Text(How.REGEX, "(?i).*%(?:2f|5c).*"))))
"""As `access_paths.ambiguous`."""

UNLESS: Final = "~"
"""Begins the name under which what no policy allows is refused: those of the policies follow that could have allowed it. It sorts
behind every policy's own name, so that where both would refuse, the `deny` is named.
"""
NAMED: Final = 3
"""Policies that are named there; of more, how many others there are."""


SPIFFE: Final = "spiffe://"
SCOPE: Final = ("scope",)
"""The claim whose value is a list with spaces between."""


class Reading(Enum):
    SURELY = auto()
    PERHAPS = auto()

    @property
    def opposite(self) -> Reading:
        return Reading.PERHAPS if self is Reading.SURELY else Reading.SURELY


@dataclass(frozen=True, slots=True)
class Stated:
    """One policy at one place. `switch`: it is a `default: deny`, which allows nothing. `name` is `<namespace>/<name>`."""

    name: str
    action: str
    switch: bool
    dry_run: bool
    condition: Condition


Named = tuple[tuple[str, Condition], ...]
"""Conditions by the name that access logs have for them, in the order in which Envoy looks at them: the first that holds counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds at a place. `refused`: each of these refuses. `would_refuse`: what policies on trial would. `audited`: what is marked."""

    refused: Named = ()
    would_refuse: Named = ()
    audited: Named = ()

    def beyond(self, other: Plan) -> Plan:
        """What `other` does not have."""
        return Plan(
            *(
                tuple(each for each in mine if each not in known)
                for mine, known in (
                    (self.refused, other.refused),
                    (self.would_refuse, other.would_refuse),
                    (self.audited, other.audited),
                )
            )
        )


def plan(policies: Iterable[Stated]) -> Plan:
    """What `policies` come to together: the order in which they are given does not matter."""
    known = sorted(set(policies), key=lambda each: (each.name, each.dry_run))
    enforced = [each for each in known if not each.dry_run]
    on_trial = [each for each in known if each.dry_run and each.action != "audit"]
    allowing = [each for each in enforced if each.action == "allow"]
    # Where only what is allowed is let in already, one more policy that allows can refuse nothing.
    new = [] if allowing else [each for each in on_trial if each.action == "allow"]
    return Plan(
        refused=_named((*_denials(enforced), *_otherwise(allowing))),
        would_refuse=_named((*_denials(on_trial), *_otherwise(new))),
        audited=_named((each.name, each.condition) for each in known if each.action == "audit"),
    )


def _denials(policies: Iterable[Stated]) -> Iterator[tuple[str, Condition]]:
    return ((each.name, each.condition) for each in policies if each.action == "deny")


def _otherwise(allowing: list[Stated]) -> Iterator[tuple[str, Condition]]:
    if allowing:
        yield otherwise(allowing), negated(either(each.condition for each in allowing))


def otherwise(allowing: Iterable[Stated]) -> str:
    """The name of what none of `allowing` lets in, switches first."""
    names = [each.name for each in sorted(allowing, key=lambda each: (not each.switch, each.name))]
    more = len(names) - NAMED
    return UNLESS + ",".join(names[:NAMED]) + (f",+{more}" if more > 0 else "")


def _named(conditions: Iterable[tuple[str, Condition]]) -> Named:
    return tuple(
        sorted(((name, each) for name, each in conditions if each != NEVER), key=lambda pair: pair[0])
    )


def stated(fields: AccessFields, where: Where) -> Stated:
    """What the policy `where.policy` means at one port of a service."""
    action = fields.action or "allow"
    rules = (of_rule(each, fields, where) for each in fields.rules or ())
    return Stated(where.policy, action, fields.default is not None, bool(fields.dry_run), either(rules))


def of_rule(rule: RuleFields, fields: AccessFields, where: Where) -> Condition:
    """Where `rule`, one of a policy that says `fields`, applies."""
    reading = Reading.SURELY if fields.action == "allow" else Reading.PERHAPS
    own = Key.parse(where.policy).namespace
    return every(
        (
            either(_caller(each, reading, own, where) for each in rule.from_) if rule.from_ else ALWAYS,
            either(_request(each, reading, where) for each in rule.to) if rule.to else ALWAYS,
            *(_when(each, reading, where) for each in rule.when or ()),
        )
    )


# Who calls


def _caller(entry: CallerFields, reading: Reading, own: str, where: Where) -> Condition:
    ours = where.trust_domains

    def account(given: str) -> Iterator[Text]:
        namespace, name = patterns.named(given, own)
        return (_exactly(f"spiffe://{each}/ns/{namespace}/sa/{name}") for each in ours.callers)

    def service(given: str) -> Iterator[Text]:
        return _identities(Key(*patterns.named(given, own)), where)

    denied: list[Text] = [
        *(text for each in entry.not_identities or () for text in _named_so(each, where)),
        *(
            _beginning(f"spiffe://{same}/")
            for each in entry.not_trust_domains or ()
            for same in ours.same_as(each)
        ),
        *(
            _beginning(f"spiffe://{domain}/ns/{each}/")
            for domain in ours.callers
            for each in entry.not_namespaces or ()
        ),
        *(text for each in entry.not_services or () for text in service(each)),
        *(text for each in entry.not_service_accounts or () for text in account(each)),
    ]
    negatives = (
        entry.not_identities,
        entry.not_trust_domains,
        entry.not_namespaces,
        entry.not_services,
        entry.not_service_accounts,
    )
    parts: list[Condition] = []
    who = _who(entry, own, where)
    if who is not None:
        parts.append(either(Identity(each) for each in who))
    if any(each is not None for each in negatives):
        parts.append(negated(either(Identity(each) for each in denied)))
        if reading is Reading.SURELY:  # whoever proves no identity may be any of these
            parts.append(Identity(_beginning("spiffe://")))
    if entry.any_mesh_identity is not None:
        anyone = either(Identity(_beginning(f"spiffe://{each}/")) for each in ours.callers)
        parts.append(anyone if entry.any_mesh_identity else negated(anyone))
    if entry.ip_blocks:
        parts.append(either(Address(each) for each in entry.ip_blocks))
    if entry.not_ip_blocks:
        parts.append(negated(either(Address(each) for each in entry.not_ip_blocks)))
    return every(parts)


def _who(entry: CallerFields, own: str, where: Where) -> tuple[Text, ...] | None:
    """The ids that `entry` names, none if nobody has one; None if it names no id."""
    domains = where.trust_domains.same_as(entry.trust_domain or where.trust_domain)
    namespace = entry.namespace or own
    if entry.identity is not None:
        return tuple(_named_so(entry.identity, where))
    if entry.service is not None:
        return tuple(_identities(Key(namespace, entry.service), where))
    if entry.service_account is not None:
        return tuple(
            _exactly(f"spiffe://{each}/ns/{namespace}/sa/{entry.service_account}") for each in domains
        )
    if entry.namespace is not None:
        return tuple(_beginning(f"spiffe://{each}/ns/{namespace}/") for each in domains)
    return (
        tuple(_beginning(f"spiffe://{each}/") for each in domains) if entry.trust_domain is not None else None
    )


def _named_so(pattern: str, where: Where) -> Iterator[Text]:
    """A SPIFFE id, or how it begins; one of the mesh's own by each name that its workloads may have."""
    trust_domain, slash, path = pattern.removeprefix(SPIFFE).partition("/")
    for each in where.trust_domains.same_as(trust_domain):
        yield patterns.text(f"{SPIFFE}{each}{slash}{path}")


def _identities(service: Key, where: Where) -> Iterator[Text]:
    """Of a service that is not there, none."""
    return (_exactly(each) for known, ids in where.known if known == service for each in ids)


def _exactly(text: str) -> Text:
    return Text(How.EXACT, text)


def _beginning(text: str) -> Text:
    return Text(How.PREFIX, text)


# What is called


def _request(entry: RequestFields, reading: Reading, where: Where) -> Condition:
    parts: list[Condition] = []
    if where.port is None and (entry.ports is not None or entry.not_ports is not None):
        parts.append(_some_port(reading))
    elif where.port is not None:
        if entry.ports is not None:
            parts.append(_port(entry.ports, where))
        if entry.not_ports is not None:
            parts.append(negated(_port(entry.not_ports, where)))
    if asks_requests(entry) and not where.protocol.is_http:
        parts.append(_unseen(reading))
        return every(parts)
    pairs: tuple[tuple[list[str] | None, list[str] | None, Callable[..., Condition]], ...] = (
        (entry.methods, entry.not_methods, _methods),
        (entry.paths, entry.not_paths, _paths),
        (entry.hosts, entry.not_hosts, _hosts),
    )
    for given, excluded, made in pairs:
        if given is not None:
            parts.append(made(given, reading))
        if excluded is not None:
            parts.append(negated(made(excluded, reading.opposite)))
    if entry.grpc is not None:
        parts.append(_grpc(entry.grpc, reading))
    return every(parts)


def _unseen(reading: Reading) -> Condition:
    """A condition on requests where only connections are seen: it surely holds for none, and perhaps for each."""
    return NEVER if reading is Reading.SURELY else ALWAYS


def _some_port(reading: Reading) -> Condition:
    """A condition on ports where several are decided on together: so that what is refused there is refused on each."""
    return ALWAYS if reading is Reading.SURELY else NEVER


def _port(wanted: Iterable[int | str], where: Where) -> Condition:
    return ALWAYS if any(each in {where.port, where.port_name} for each in wanted) else NEVER


def _methods(names: Iterable[str], reading: Reading) -> Condition:
    loose = reading is Reading.PERHAPS
    return either(Header(":method", Text(How.EXACT, each, loose)) for each in names)


def _paths(given: Iterable[str], reading: Reading) -> Condition:
    return _unambiguous(either(PathIs(patterns.path(each)) for each in given), reading)


def _grpc(given: Iterable[GrpcFields], reading: Reading) -> Condition:
    paths = either(
        PathIs(_exactly(f"/{each.service}/{each.method}") if each.method else _beginning(f"/{each.service}/"))
        for each in given
    )
    if reading is Reading.PERHAPS:
        return _unambiguous(paths, reading)
    content = Header("content-type", _beginning("application/grpc"))
    return every((_unambiguous(paths, reading), Header(":method", _exactly("POST")), content))


def _unambiguous(paths: Condition, reading: Reading) -> Condition:
    if reading is Reading.PERHAPS:
        return either((paths, AMBIGUOUS))
    return every((paths, negated(AMBIGUOUS)))


def _hosts(given: Iterable[str], reading: Reading) -> Condition:
    loose = reading is Reading.PERHAPS
    named = either(Header(":authority", patterns.host(each, loose=loose)) for each in given)
    # Who names no host may get that of any.
    return either((named, negated(Header(":authority", Text(How.REGEX, ".+"))))) if loose else named


def _when(entry: WhenFields, reading: Reading, where: Where) -> Condition:
    if not where.protocol.is_http:
        return _unseen(reading)
    name, steps = entry.header, entry.steps()

    def one(value: str | bool | float, how: Reading) -> Condition:
        if name is None:
            return Claim(steps, None if value == patterns.STAR else _held(value, steps))
        if value == patterns.STAR:
            return Header(name)
        return Header(
            name, patterns.among(str(value)) if how is Reading.PERHAPS else patterns.text(str(value))
        )

    there = Header(name) if name is not None else Claim(steps)
    if entry.values is None and entry.not_values is None:
        return there
    parts: list[Condition] = []
    if entry.values is not None:
        parts.append(either(one(each, reading) for each in entry.values))
    if entry.not_values is not None:
        parts.append(negated(either(one(each, reading.opposite) for each in entry.not_values)))
        if name is None and reading is Reading.SURELY and patterns.STAR not in entry.not_values:
            parts.append(there)  # who has no token may be anyone
    return every(parts)


def _held(value: str | bool | float, steps: tuple[str, ...]) -> Text | bool | float:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return patterns.word(value) if steps == SCOPE else patterns.text(value)
    return float(value)
