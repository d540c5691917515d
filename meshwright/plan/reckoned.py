"""A plan: what a change of documents would do, for whom. Work for a thread: it renders what clients see, twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from documents.parsing import parse
from envoy.render import Renderer
from mesh.state import MeshState, SourceView
from meshwright.calls_seen import Lately as Seen
from meshwright.plan.asked import Asked, Body, Name, body, comparable
from meshwright.plan.candidate import SERVICES, candidate, holding
from meshwright.plan.caveats import Caveat, caveats
from meshwright.plan.caveats import Sort as CaveatSort
from meshwright.plan.difference import FieldChange, fields
from meshwright.plan.fleet import Fleet
from meshwright.plan.grouping import ResourceChange, Sort, together
from meshwright.plan.held import Difference
from meshwright.plan.locked_out import locked_out
from meshwright.plan.misfit import misfits
from meshwright.plan.subscribed import Subscribed
from meshwright.plan.twin import Given, Setting, by_client, given
from policies.registry import KINDS
from policies.transport import Lately

Differing = tuple[tuple[str, ...], tuple[Difference, ...]]
"""Ids of clients, and what differs for each of them."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan starts from. `into`: the source that new documents go to; `editable`: those whose documents can be written to; `bodies`:
    documents in force, of those that are asked about, where the state itself keeps no text of them. `lately`: who spoke plaintext;
    `seen`: who called whom; None where nobody can know.
    """

    state: MeshState
    fleet: Fleet
    setting: Setting
    into: str
    editable: tuple[str, ...]
    bodies: Mapping[Name, Body] = field(default_factory=dict)
    lately: Lately = field(default_factory=dict)
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """`fields` of one that changes."""

    kind: str
    name: str
    sort: Sort
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`refused`: why it could not be applied. `proxies`: how many are given something else, of how many. `given`: what they are given, for
    who goes on to check it; `differing`: what differs for which clients. `hidden`: of how many `proxies` nothing is shown.
    """

    documents: tuple[DocumentChange, ...]
    resources: tuple[ResourceChange, ...]
    caveats: tuple[Caveat, ...]
    refused: tuple[str, ...]
    proxies: int
    of_proxies: int
    given: Given = field(repr=False, compare=False)
    differing: tuple[Differing, ...] = field(default=(), repr=False, compare=False)
    hidden: int = 0

    def shown_to(self, visible: Callable[[str], bool]) -> Plan:
        """Less the proxies of namespaces that are not `visible`, which are counted as `hidden`, and less what is said of documents there."""
        found = tuple(
            (tuple(each for each in clients if visible(_namespace(each))), differences)
            for clients, differences in self.differing
        )
        hidden = self.proxies - len({client for clients, _ in found for client in clients})
        caveats = tuple(each for each in self.caveats if _is_visible(each, visible))
        resources = together(each for each in found if each[0]) if hidden else self.resources
        return replace(self, resources=resources, hidden=hidden, caveats=caveats)

    @property
    def changes_nothing(self) -> bool:
        return not self.documents and not self.resources


def plan(basis: Basis, asked: Asked, renderer: Renderer | None = None) -> Plan:
    """What it would mean to write `asked`. `renderer`: one that may remember from plan to plan."""
    found = candidate(basis.state, asked, basis.into, basis.editable)
    has = given(basis.state, found.events, basis.fleet, basis.setting, renderer)
    differing = tuple(by_client(has, Subscribed(basis.fleet, has)))
    told = (
        *caveats(basis.state, found.state, asked, basis.lately),
        *(each for document in asked.put for each in misfits(found.state, document)),
        *(locked_out(basis.state, found.state, basis.seen) if basis.seen is not None else ()),
        *(Caveat(CaveatSort.DOUBTFUL, f"{kind} {key}", said) for (kind, key), said in found.cautions),
        *(Caveat(CaveatSort.NOT_SENT, subject, why) for subject, why in sorted(has.problems.items())),
    )
    return Plan(
        documents=tuple(_documents(basis, found.state, asked)),
        resources=together(differing),
        caveats=told,
        refused=found.refused,
        proxies=len({client for clients, _ in differing for client in clients}),
        of_proxies=len(basis.fleet),
        given=has,
        differing=differing,
    )


def _namespace(client: str) -> str:
    """Of a client's id, which begins with its workload: see `publisher.client_id`."""
    return client.partition("/")[0]


def _is_visible(caveat: Caveat, visible: Callable[[str], bool]) -> bool:
    namespace, slash, _ = caveat.document.partition(" ")[2].partition("/")
    return not slash or visible(namespace)


def _documents(basis: Basis, new: MeshState, asked: Asked) -> Iterator[DocumentChange]:
    for each in sorted(asked.put, key=lambda document: document.name):
        source = holding(basis.state, each.name)
        if source is None:
            yield DocumentChange(each.kind, str(each.key), Sort.ADDED)
            continue
        was = basis.bodies.get(each.name) or _written(basis.state.sources[source], each.name)
        if was is not None:
            differing = tuple(fields(comparable(was), comparable(body(each))))
            if differing:
                yield DocumentChange(each.kind, str(each.key), Sort.CHANGED, differing)
        elif _value(basis.state, each.name) != _value(new, each.name):
            yield DocumentChange(each.kind, str(each.key), Sort.CHANGED)
    for kind, key in asked.delete:
        if holding(basis.state, (kind, key)) is not None:
            yield DocumentChange(kind, str(key), Sort.REMOVED)


def _written(view: SourceView, name: Name) -> Body | None:
    """The text that a declared value keeps. Of services and workloads none is kept."""
    found = view.declared.get(name)
    if found is None or not found.text:
        return None
    return next((body(each) for each in parse("", found.text.encode(), KINDS).documents), None)


def _value(state: MeshState, name: Name) -> object:
    kind, key = name
    if kind in SERVICES:
        return state.services.get(key)
    return state.workloads.get(key) if kind == "Workload" else state.declared.get(name)
