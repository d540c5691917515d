"""A publisher beside the one that serves: what clients would be given of another state, made by the very same code.

It has a renderer, a weaver and contents of its own, so that it works in a thread and nothing of it is ever sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from envoy.render import Renderer
from mesh.events import Changes, DocumentName, SourceUpdate
from mesh.state import MeshState
from meshwright.certificates import CertificateStore
from meshwright.editions import Member as Of
from meshwright.editions import Overlay
from meshwright.plan.fleet import Fleet, Member
from meshwright.plan.held import Difference, Held
from meshwright.publisher import Attached, Publisher, Update, client_id
from meshwright.scopes import Scope
from xds.types import LISTENER, RUNTIME, SCOPED_ROUTE


class Twin(Publisher):
    """Takes the clients of another publisher as they stand there."""

    def adopt(self, fleet: Fleet) -> Update:
        """Attach all of `fleet`: what is published first."""
        update = Update()
        for each in fleet:
            if each.scopes:
                self._adopt(each, update)
            else:
                _, opened = self.attach(each.workload, proved=each.proved, proxyless=each.proxyless)
                update.changes.extend(opened.changes)
        return update

    def scopes_of_all(self) -> dict[str, tuple[Scope, ...]]:
        """By client, its scopes."""
        return {client: attached.scopes for client, attached in self._attached.items()}

    def at_once(self) -> dict[str, frozenset[str] | None]:
        """By client, the clusters that come unasked; None: all."""
        return {client: attached.at_once for client, attached in self._attached.items()}

    def _adopt(self, member: Member, update: Update) -> None:
        client = id_of(member)
        scopes = self.scopes.one(member.scopes)
        attached = Attached(member.workload, member.proved, member.proxyless, at_once=member.at_once)
        self._attached[client] = attached
        attached.edition = self.editions.of(self.member(client)).name
        for scope in scopes:
            if scope not in self._contents:
                update.changes.extend(self._open(client, scope))
        self._watch(client, attached, self.state.workloads.get(member.workload), scopes)
        self.scopes.use(scopes)
        attached.scopes = scopes


def id_of(member: Member) -> str:
    return client_id(member.workload, proved=member.proved, proxyless=member.proxyless)


@dataclass(frozen=True, slots=True)
class Given:
    """What clients have of two states. `known`: what is left out or kept back in the first, and why; `problems`: what is in the second, and was
    not before.
    """

    held: Held
    before: Mapping[str, tuple[Scope, ...]]
    after: Mapping[str, tuple[Scope, ...]]
    at_once: Mapping[str, frozenset[str] | None]
    known: Mapping[str, str]
    problems: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Setting:
    """What decides, besides the state of the mesh, what is rendered."""

    certificates: CertificateStore
    on_demand: bool = False


class _Overlays:
    """What clients see instead of what all sources say, as it was decided elsewhere (see `editions.Overlayer`)."""

    def __init__(self, fleet: Fleet) -> None:
        self._of = {id_of(each): each.overlay for each in fleet if each.overlay}

    def overlay(self, member: Of, below: Overlay) -> Overlay:
        return self._of.get(member.client, below)

    def end(self, names: frozenset[DocumentName]) -> tuple[str, ...]:
        """Documents of these names are written anew, so nothing stands for them any more. The clients that this concerns."""
        concerned = []
        for client, overlay in self._of.items():
            kept = {name: each for name, each in overlay.entries if name not in names}
            if len(kept) != len(overlay.entries):
                self._of[client] = Overlay.of(kept)
                concerned.append(client)
        return tuple(concerned)


def given(
    old: MeshState,
    events: Iterable[SourceUpdate],
    fleet: Fleet,
    setting: Setting,
    renderer: Renderer | None = None,
) -> Given:
    """What the clients of `fleet` are given in `old`, and what after `events`, when these have reached everybody. Work for a thread: it
    renders all that they see.
    """
    twin = Twin(old, renderer or Renderer(), certificates=setting.certificates, on_demand=setting.on_demand)
    overlays = _Overlays(fleet)
    twin.editions.use(overlays)
    held = Held()
    held.take(twin.adopt(fleet).changes)
    before, known = twin.scopes_of_all(), twin.problems
    held.mark()
    state, changes, clients = old, Changes(), set[str]()
    for event in events:
        clients.update(overlays.end(_named(event)))
        state, more = state.apply(event)
        changes |= twin.editions.changed(state, more, event)
    held.take(twin.refresh(state, changes).changes)
    held.take(twin.rescope(state, sorted(clients | twin.concerned(changes))).changes)
    problems = {subject: why for subject, why in twin.problems.items() if known.get(subject) != why}
    return Given(held, before, twin.scopes_of_all(), twin.at_once(), known, problems)


def _named(event: SourceUpdate) -> frozenset[DocumentName]:
    return frozenset(
        (
            *(("Service", each.key) for each in event.services),
            *(("Workload", each.key) for each in event.workloads),
            *(each.name for each in event.declared),
            *(("Service", each) for each in event.removed_services),
            *(("Workload", each) for each in event.removed_workloads),
            *event.removed_declared,
        )
    )


class Receiving(Protocol):
    """Says what of all that it could have a client is sent: `subscribed.Subscribed`."""

    def sent(self, client: str, difference: Difference) -> bool: ...
    def besides(self, client: str) -> tuple[Difference, ...]: ...


class Everything:
    """Of clients that subscribe to all there is."""

    def sent(self, client: str, difference: Difference) -> bool:
        del client, difference
        return True

    def besides(self, client: str) -> tuple[Difference, ...]:
        del client
        return ()


def by_client(
    found: Given, receiving: Receiving | None = None
) -> Iterable[tuple[tuple[str, ...], tuple[Difference, ...]]]:
    """What differs, for the clients of whom the same differs; clients for whom nothing does are left out."""
    receives = receiving or Everything()
    alike: dict[tuple[tuple[Scope, ...], tuple[Scope, ...]], list[str]] = {}
    for client, scopes in found.before.items():
        alike.setdefault((scopes, found.after.get(client, scopes)), []).append(client)
    for (before, after), clients in alike.items():
        # Who looks on decides whether a proxy is watched, not what is planned; the twin watches none.
        differences = tuple(
            each
            for each in found.held.differences(before, after)
            if not any(one is not None and one.type_url == RUNTIME for one in each)
        )
        if not differences:
            continue
        together: dict[tuple[tuple[bool, ...], tuple[Difference, ...]], list[str]] = {}
        names = any(new is not None and new.type_url in {LISTENER, SCOPED_ROUTE} for _, new in differences)
        for client in clients:
            mask = tuple(receives.sent(client, each) for each in differences)
            besides = receives.besides(client) if names else ()
            together.setdefault((mask, besides), []).append(client)
        for (mask, besides), some in together.items():
            left = (*(each for each, sent in zip(differences, mask, strict=True) if sent), *besides)
            if left:
                yield tuple(some), left
