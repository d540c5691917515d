"""What becomes of a call, told from the state of the mesh alone: no proxy is asked, and none is needed.

The rules are those that proxies are given (`access_rules`); here they are held against a request that nobody has sent yet, for
`meshwright explain`, and for tests, which compare what Envoy says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import re2

from mesh.names import Key
from mesh.policy import Place
from mesh.service import Protocol, ServicePort
from mesh.state import MeshState
from policies import access, unions
from policies.access_conditions import (
    Address,
    Claim,
    Condition,
    Either,
    Every,
    Header,
    How,
    Identity,
    Not,
    PathIs,
    Text,
)
from policies.access_fields import AccessFields
from policies.access_paths import normal
from policies.access_rules import UNLESS, Named, Plan, of_rule, plan, stated
from policies.kind import Side, Where

_BLANK: Final = re.compile(r"^[ \t]+|[ \t]+$")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the SPIFFE id that a certificate proves (None: plaintext), and the address that the connection comes from."""

    identity: str | None
    address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """As it is sent: `path` with its query, `headers` in any case and as often as they stand. `claims`: those of a verified token."""

    method: str = "GET"
    path: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    claims: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`by`: why it is refused, as access logs say it: `<namespace>/<name>` of the policy that denies it, or, behind a `~`, of the policies of
    which none allows it. `would_refuse`: the same of policies on trial; `audited`: the first policy that marks it. Empty: none.
    """

    by: str = ""
    would_refuse: str = ""
    audited: str = ""

    @property
    def allowed(self) -> bool:
        return not self.by

    @property
    def documents(self) -> tuple[Key, ...]:
        """The policies that `by` names."""
        names = self.by.removeprefix(UNLESS).split(",")
        return tuple(Key.parse(each) for each in names if "/" in each)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What conditions are held against. Without a request, none on requests holds."""

    caller: Caller
    request: Request | None
    path: str
    headers: Mapping[str, tuple[str, ...]]


def verdict(
    state: MeshState,
    service: Key,
    port: ServicePort,
    caller: Caller,
    request: Request | None = None,
    workload: Key | None = None,
) -> Verdict:
    """What becomes of a call to `port` of `service`, at `workload`, one of its own: None for any that no policy targets by itself.

    `request`: what is asked, on a port of HTTP; of a connection on another port none is needed.
    """
    found = at(state, service, port, workload)
    return decided(found, caller, request if port.protocol.is_http else None)


def at(state: MeshState, service: Key, port: ServicePort, workload: Key | None = None) -> Plan:
    """What is decided at one port of a service."""
    return _planned(state, *_of_port(state, service, port, workload))


def at_gateway(state: MeshState, workload: Key, port: int, *, http: bool) -> Plan:
    """What is decided on a port of the gateway that `workload` plays; `http`: whether it looks into connections there."""
    return _planned(state, *_of_gateway(state, workload, port, http=http))


@dataclass(frozen=True, slots=True)
class Ruling:
    """A rule that applies to a call: the `rule`th of `policy`, from 0, whose action is `action`."""

    policy: Key
    action: str
    rule: int
    dry_run: bool


def rulings(
    state: MeshState,
    service: Key,
    port: ServicePort,
    caller: Caller,
    request: Request | None = None,
    workload: Key | None = None,
) -> Iterator[Ruling]:
    """The rules that apply to a call, by policy: what `verdict` comes from."""
    request = request if port.protocol.is_http else None
    yield from _rulings(state, *_of_port(state, service, port, workload), caller, request)


def rulings_at_gateway(
    state: MeshState, workload: Key, port: int, caller: Caller, request: Request | None
) -> Iterator[Ruling]:
    """As `rulings`, on a port of the gateway that `workload` plays. `request` None: it does not look into the connection."""
    found = _of_gateway(state, workload, port, http=request is not None)
    yield from _rulings(state, *found, caller, request, edge=True)


def _of_port(state: MeshState, service: Key, port: ServicePort, workload: Key | None) -> tuple[Place, Where]:
    where = Where(
        Side.CALLEE,
        state.trust_domain,
        service,
        workload,
        port=port.port,
        protocol=port.protocol,
        port_name=port.name,
        aliases=state.aliases,
        former=state.former,
    )
    return Place(service.namespace, service, workload), where


def _of_gateway(state: MeshState, workload: Key, port: int, *, http: bool) -> tuple[Place, Where]:
    where = Where(
        Side.CALLEE,
        state.trust_domain,
        workload=workload,
        port=port,
        protocol=Protocol.HTTP if http else Protocol.TCP,
        gateway=True,
        aliases=state.aliases,
        former=state.former,
    )
    return Place(workload.namespace, workload=workload), where


def _rulings(
    state: MeshState,
    place: Place,
    where: Where,
    caller: Caller,
    request: Request | None,
    *,
    edge: bool = False,
) -> Iterator[Ruling]:
    subject = _subject(caller, request, edge=edge)
    for fields, of_policy in _read(state, place, where):
        for number, rule in enumerate(fields.rules or ()):
            if _holds(of_rule(rule, fields, of_policy), subject):
                key = Key.parse(of_policy.policy)
                yield Ruling(key, fields.action or "allow", number, bool(fields.dry_run))


def _read(state: MeshState, place: Place, where: Where) -> list[tuple[AccessFields, Where]]:
    found = unions.attached(access.KIND, state, place)
    policies = unions.resolved(access.KIND, state, found, unions.Mentions())
    return unions.read(access.KIND, policies, where)


def _planned(state: MeshState, place: Place, where: Where) -> Plan:
    return plan(stated(fields, of_policy) for fields, of_policy in _read(state, place, where))


def decided(found: Plan, caller: Caller, request: Request | None, *, edge: bool = False) -> Verdict:
    """What `found` makes of one request, or of a connection. `edge`: at a gateway, which also merges slashes, and redirects to the path
    without encoded ones before it decides.
    """
    subject = _subject(caller, request, edge=edge)
    return Verdict(
        _first(found.refused, subject), _first(found.would_refuse, subject), _first(found.audited, subject)
    )


def _subject(caller: Caller, request: Request | None, *, edge: bool) -> _Subject:
    if request is None:
        return _Subject(caller, None, "", {})
    return _Subject(caller, request, normal(request.path, merged=edge), _headers(request))


def _first(named: Named, subject: _Subject) -> str:
    return next((name for name, condition in named if _holds(condition, subject)), "")


def _headers(request: Request) -> Mapping[str, tuple[str, ...]]:
    """As Envoy reads them: without white space around each."""
    found: dict[str, list[str]] = {}
    for name, value in request.headers:
        found.setdefault(name.lower(), []).append(_BLANK.sub("", value))
    found[":method"] = [request.method]
    if request.host:
        found[":authority"] = [request.host]
    return {name: tuple(values) for name, values in found.items()}


def _holds(condition: Condition, subject: _Subject) -> bool:
    match condition:
        case Every(parts):
            return all(_holds(each, subject) for each in parts)
        case Either(parts):
            return any(_holds(each, subject) for each in parts)
        case Not(part):
            return not _holds(part, subject)
        case Identity(text):
            return subject.caller.identity is not None and _matches(text, subject.caller.identity)
        case Address(block):
            return ipaddress.ip_address(subject.caller.address) in ipaddress.ip_network(block)
        case Header(name, text):
            values = subject.headers.get(name, ())
            return any(text is None or _matches(text, value) for value in values)
        case PathIs(text):
            return subject.request is not None and _matches(text, subject.path)
        case Claim(path, value):
            claims = subject.request.claims if subject.request is not None else None
            return claims is not None and _claimed(claims, path, value)


def _claimed(claims: Mapping[str, object], path: Iterable[str], wanted: Text | bool | float | None) -> bool:
    found: object = claims
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return False
        found = found[step]
    if wanted is None:
        return True
    return any(_is(wanted, each) for each in found) if isinstance(found, list) else _is(wanted, found)


def _is(wanted: Text | bool | float, found: object) -> bool:
    match wanted:
        case Text():
            return isinstance(found, str) and _matches(wanted, found)
        case bool():
            return found is wanted
        case _:
            return isinstance(found, int | float) and not isinstance(found, bool) and float(found) == wanted


def _matches(text: Text, value: str) -> bool:
    wanted, held = (text.value.lower(), value.lower()) if text.any_case else (text.value, value)
    match text.how:
        case How.EXACT:
            return held == wanted
        case How.PREFIX:
            return held.startswith(wanted)
        case How.SUFFIX:
            return held.endswith(wanted)
        case How.CONTAINS:
            return wanted in held
        case How.REGEX:
            return _expression(text.value, value)


def _expression(expression: str, value: str) -> bool:
    """By the engine that Envoy has, byte by byte as there."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    compiled = re2.compile(expression.encode(), options)
    return compiled.fullmatch(value.encode("latin-1", "replace")) is not None
