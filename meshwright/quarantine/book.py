"""The quarantine itself, pure: which revisions are refused by whom, and what stands for them meanwhile.

It is an `editions.Overlayer`: whom a case concerns sees the newest earlier revision of the document that is not refused too, or else the
mesh as if the document were not there. It is asked about the revision that would be in force, so a corrected document, or one that is
gone, is not held: its revision is another one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from mesh.events import DocumentName, Event, SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from meshwright.editions import NOTHING, Instead, Member, Overlay
from meshwright.quarantine.cases import FOUNDATIONS, Case, CaseName, Verdict
from meshwright.quarantine.history import History, said_by
from meshwright.revisions import Held, in_force, origin_of, revision_of

CASES = 200
"""Cases that are remembered, those of revisions that are no longer in force among them: they may come back."""
OF_ONE = 8
"""Documents that are set aside for one proxy because it alone refuses them. One that refuses more has something wrong with itself."""
DIFFERENT = 10
"""Different views of the mesh that proxies are given because each of them alone refuses something."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The value of a document that all sources say, with its revision."""

    source: str
    value: Held
    revision: str


@dataclass(frozen=True, slots=True)
class Told:
    """A case as it stands. `active`: its revision is in force but for the quarantine. `instead`: what whom it concerns sees; None: the
    document as it is, for nothing can stand for it; `Instead(…, None)`: nothing. `origin`: where the document stands now.
    """

    case: Case
    active: bool
    instead: Instead | None
    origin: tuple[str, ...] = ()


class Book:
    """`protecting`: kinds of documents that keep requests from somebody. They are never replaced by nothing: what they keep would be open."""

    def __init__(self, protecting: Collection[str]) -> None:
        self.history = History()
        self._protecting = frozenset(protecting)
        self._cases: OrderedDict[CaseName, Case] = OrderedDict()
        self._of: dict[DocumentName, dict[CaseName, Case]] = {}
        self._standing: dict[DocumentName, Standing | None] = {}
        self._overlays: dict[tuple[tuple[DocumentName, str, str], ...], Overlay] = {}
        self._revisions: dict[int, tuple[Held, str]] = {}
        self._alone: dict[str, tuple[tuple[DocumentName, str, str], ...]] = {}
        self.odd: dict[str, float] = {}

    # What happens

    def changed(self, before: MeshState, after: MeshState, event: Event) -> tuple[bool, bool]:
        """An event made `after` of `before`: whether what somebody sees may have changed because of it, and whether documents did."""
        noted = self.history.note(before, after, event)
        return self.look(after, self.spoken_of(event)), noted

    def spoken_of(self, event: Event) -> Collection[DocumentName]:
        """The documents with cases of which `event` may say something: a whole answer, of each, by not naming it."""
        if not self._of or not isinstance(event, SourceUpdate):
            return tuple(self._of)
        return {name for name in said_by(event) if name in self._of}

    def look(self, state: MeshState, names: Iterable[DocumentName] | None = None) -> bool:
        """What is in force of the documents `names`, or of all with cases; whether that is something else than it was."""
        moved = False
        for name in self._of if names is None else names:
            found, known = in_force(state, name), self._standing.get(name)
            if found is None:
                standing = None
            elif known is not None and known.value is found[1] and known.source == found[0]:
                continue
            else:
                standing = Standing(*found, revision_of(found[1]))
            if standing != known:
                self._standing[name] = standing
                moved = True
        if moved:
            self._forget_answers()
        return moved

    def protects(self, name: DocumentName) -> bool:
        return name[0] in self._protecting

    def find(self, name: DocumentName, revision: str, envoy: str) -> Case | None:
        return self._cases.get((name, revision, envoy))

    def put(self, case: Case, state: MeshState) -> None:
        """A new case, or one that says something else now. `state`: what all sources say."""
        if case.id not in self._cases and len(self._cases) >= CASES:
            self._make_room()
        self._cases[case.id] = case
        self._of.setdefault(case.name, {})[case.id] = case
        self._forget_answers()
        self.look(state)

    def drop(self, case: Case) -> None:
        """The document is not, or no longer, thought to be guilty."""
        if self._cases.pop(case.id, None) is None:
            return
        of = self._of[case.name]
        del of[case.id]
        if not of:
            del self._of[case.name]
            self._standing.pop(case.name, None)
        if not self._of:
            self._alone.clear()
        self._forget_answers()

    def may_accuse(self, client: str, now: float) -> bool:
        """Whether one document more may be set aside for `client` alone. Of one that refuses too much, none is, and `odd` says since when."""
        if client in self.odd:
            return False
        own = [
            each
            for each in self._cases.values()
            if client in each.clients and not each.for_all and self._is_active(each)
        ]
        if len(own) < OF_ONE:
            return True
        self.odd[client] = now
        for each in own:
            kept = replace(each, clients=each.clients - {client})
            if kept.clients or kept.verdict is not Verdict.PENDING:
                self._cases[each.id] = self._of[each.name][each.id] = kept
            else:
                self.drop(each)
        self._forget_answers()
        return False

    @property
    def remembers(self) -> bool:
        """Whether something is known of single clients that has to be forgotten when they go: see `forget_gone`."""
        return bool(self.odd or self._alone)

    def forget_gone(self, clients: Collection[str]) -> None:
        """Who is not among `clients` any more may come back as somebody else: it is neither odd, nor has a view of its own."""
        for of in (self.odd, self._alone):
            for client in [each for each in of if each not in clients]:
                del of[client]

    # What clients see

    def overlay(self, member: Member, below: Overlay) -> Overlay:
        if not self._of:
            return NOTHING
        chosen = self._chosen(member, below, alone=True)
        if not chosen:
            self._alone.pop(member.client, None)
            return NOTHING
        key = tuple((name, *self._key(instead)) for name, instead in chosen)
        if any(not case.for_all for case in self._concerning(member)):
            self._alone[member.client] = key
            others = {each for client, each in self._alone.items() if client != member.client}
            if key not in others and len(others) >= DIFFERENT:
                del self._alone[member.client]
                chosen = self._chosen(member, below, alone=False)
                key = tuple((name, *self._key(instead)) for name, instead in chosen)
        else:
            self._alone.pop(member.client, None)
        if key not in self._overlays:
            self._overlays[key] = Overlay.of(dict(chosen))
        return self._overlays[key]

    def instead_of(self, name: DocumentName, revision: str, member: Member, source: str) -> Instead | None:
        """What `member` may see in the place of a revision of a document that is refused: None: nothing can stand for it."""
        refused = {
            case.revision for case in tuple(self._of.get(name, {}).values()) if case.concerns(member)
        } | {revision}
        earlier = next((each for each in self.history.of(name) if each.revision not in refused), None)
        if earlier is not None and earlier.value is not None:
            return Instead(earlier.source, earlier.value)
        # It was not there, as far as is known.
        if self.protects(name) or name == ("Workload", member.workload):
            return None
        return None if earlier is None and name[0] in FOUNDATIONS else Instead(source, None)

    def _chosen(self, member: Member, below: Overlay, *, alone: bool) -> list[tuple[DocumentName, Instead]]:
        """`alone`: also of what `member` alone refuses."""
        chosen = []
        for name in sorted(self._of):
            would_be = self._would_be(name, below)
            if would_be is None:
                continue
            source, revision = would_be
            case = self._of[name].get((name, revision, member.envoy))
            if case is None or not case.concerns(member) or not (alone or case.for_all):
                continue
            instead = self.instead_of(name, revision, member, source)
            if instead is not None:
                chosen.append((name, instead))
        return chosen

    def _would_be(self, name: DocumentName, below: Overlay) -> tuple[str, str] | None:
        """The source and revision of what would be seen of a document, were it not for its quarantine."""
        instead = below.get(name) if below else None
        if instead is None:
            standing = self._standing.get(name)
            return None if standing is None else (standing.source, standing.revision)
        return None if instead.value is None else (instead.source, self._revision(instead.value))

    def _revision(self, value: Held) -> str:
        known = self._revisions.get(id(value))
        if known is None or known[0] is not value:
            if len(self._revisions) >= CASES:
                self._revisions.clear()
            known = self._revisions[id(value)] = value, revision_of(value)
        return known[1]

    def _key(self, instead: Instead) -> tuple[str, str]:
        return instead.source, "" if instead.value is None else self._revision(instead.value)

    def _concerning(self, member: Member) -> Iterator[Case]:
        for of in self._of.values():
            yield from (case for case in of.values() if case.concerns(member))

    def _forget_answers(self) -> None:
        self._overlays.clear()

    def _make_room(self) -> None:
        """For one case more: what is not in force goes first, then what is one proxy's own, the oldest of each."""

        def last(case: Case) -> tuple[bool, bool]:
            return self._is_active(case), case.for_all

        self.drop(min(self._cases.values(), key=last))

    # What is told

    def __len__(self) -> int:
        return len(self._cases)

    def _is_active(self, case: Case) -> bool:
        standing = self._standing.get(case.name)
        return standing is not None and standing.revision == case.revision

    def cases(self) -> Iterable[Case]:
        return tuple(self._cases.values())

    def active(self, name: DocumentName) -> tuple[Case, ...]:
        """Cases of the revision of a document that is in force but for them."""
        return tuple(case for case in tuple(self._of.get(name, {}).values()) if self._is_active(case))

    def told(self) -> Iterator[Told]:
        """All cases, by document. May be asked from another thread: what it walks through are copies."""
        yield from map(self._told, sorted(self.cases(), key=lambda each: each.id))

    def told_of(self, name: DocumentName) -> tuple[Told, ...]:
        """What is to be said of one document: its active cases. May be asked from another thread, too."""
        return tuple(map(self._told, sorted(self.active(name), key=lambda each: each.id)))

    def _told(self, case: Case) -> Told:
        standing = self._standing.get(case.name)
        client = min(case.clients, default="")
        someone = Member(client, Key("", ""), proved=True, proxyless=False, envoy=case.envoy)
        source = standing.source if standing is not None else ""
        instead = self.instead_of(case.name, case.revision, someone, source)
        origin = () if standing is None else origin_of(standing.value)
        return Told(case, self._is_active(case), instead, origin)
