"""What is done when a proxy refuses resources: whose documents they are, who is guilty, and for whom that is set aside.

At once, the proxy that refused is given what it would have without the document that changed last, of those that made the resource.
Then an Envoy of the same version is asked here, first about the refused resource, then about what it would be without each of the
documents: what it says decides who is guilty, and whether all proxies of that version are spared. Everything is bounded, so that a
proxy that refuses everything is its own trouble and nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog

from documents.envelope import Kind
from envoy.render import Rendered
from mesh.events import DocumentName, Event
from mesh.state import MeshState
from meshwright.editions import Member
from meshwright.pipeline import Pipeline
from meshwright.publisher import Publisher
from meshwright.quarantine import file
from meshwright.quarantine.book import Book, Told
from meshwright.quarantine.cases import Case, CaseName, Verdict
from meshwright.quarantine.guilt import Envoys, Trial, guilty
from meshwright.quarantine.history import Earlier
from meshwright.quarantine.refused import About, Refused, Waiting
from meshwright.quarantine.sketch import Sketcher
from meshwright.quarantine.suspects import Suspect, suspects
from meshwright.quarantine.telling import FOR_ALL, QUARANTINED, RELEASED, Record, Teller, problems
from meshwright.quarantine.trial import Neighbours
from meshwright.revisions import documents_of, in_force
from xds.resource import Resource
from xds.state import Refusal
from xds.types import CLUSTER, SECRET

KNOWN = 500
"""Refused resources of which it is remembered what they led to."""
TRIALS = 64
"""Resources that wait to be shown to an Envoy."""
SUSPECTS = 8
"""Documents that are tried for one resource."""
MESSAGE = 600
"""Characters of Envoy's words that are kept."""
QUIET = 0.2
"""Seconds in which what is to be saved is collected."""

log = structlog.get_logger(__name__)


class Kept(Protocol):
    """See `kept.StoreHistory`."""

    @property
    def source(self) -> str: ...
    async def earlier(self, name: DocumentName) -> tuple[Earlier, ...]: ...


class Quarantine:
    """`kept`: where earlier revisions are known, if anywhere. `identity`: the proved SPIFFE id of a client, if any. `clock` tells seconds
    since 1970.
    """

    def __init__(
        self,
        book: Book,
        publisher: Publisher,
        pipeline: Pipeline,
        sketcher: Sketcher,
        envoys: Envoys,
        folder: Path,
        *,
        kinds: tuple[Kind, ...],
        kept: Kept | None,
        identity: Callable[[str], str | None],
        clock: Callable[[], float],
        record: Record,
    ) -> None:
        self.book = book
        self._publisher = publisher
        self._pipeline = pipeline
        self._sketcher = sketcher
        self._envoys = envoys
        self._folder = folder
        self._kinds = kinds
        self._kept = kept
        self._identity = identity
        self._clock = clock
        self._teller = Teller(record)
        self._waiting = Waiting()
        self._trials: OrderedDict[About, Trial] = OrderedDict()
        # Of refused resources, the cases that they led to; none for what cannot be traced.
        self._known: OrderedDict[About, tuple[CaseName, ...]] = OrderedDict()
        self._refused, self._tried, self._unsaved = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._busy = 0
        publisher.editions.use(book)

    async def open(self) -> None:
        """Take up what was known when the control plane ended. Before sources are heard."""
        cases, warning = await asyncio.to_thread(file.load, self._folder, self.book, self._kinds)
        if warning is not None:
            log.warning(warning)
        for case in cases:
            # What was being tried then is tried again when somebody refuses it again.
            self.book.put(case, self._pipeline.state)

    # Told, on the loop, by others

    def refused(self, client: str, type_url: str, refusal: Refusal) -> None:
        """A proxy refused resources. Neither blocks nor raises."""
        if type_url == SECRET or not refusal.culprits:
            return
        if client in self.book.odd:
            return
        identity = self._identity(client)
        for resource in refusal.culprits:
            self._waiting.put(Refused(client, identity, resource, refusal.message[:MESSAGE]))
        self._refused.set()

    def changed(self, before: MeshState, after: MeshState, event: Event) -> None:
        """An event was applied and is to be published: what is said anew of a document ends its quarantine."""
        active = [case for name in self.book.spoken_of(event) for case in self.book.active(name)]
        moved, noted = self.book.changed(before, after, event)
        if moved:
            self._pipeline.reassign()
            for case in active:
                if case not in self.book.active(case.name):
                    self._teller.tell(RELEASED, case, why="it says something else now")
        if moved or noted:
            self._unsaved.set()

    def release(self, name: DocumentName) -> int:
        """Send a document as it is to everybody, and see. How many cases that ends."""
        cases = [case for case in self.book.cases() if case.name == name]
        for case in cases:
            self.book.drop(case)
            self._teller.tell(RELEASED, case, why="it was released")
        if cases:
            self._changed_for_all()
        return len(cases)

    # What is told

    def told(self) -> tuple[Told, ...]:
        return tuple(self.book.told())

    def of(self, name: DocumentName) -> tuple[Told, ...]:
        """What is to be said of one document: cases of the revision that is in force."""
        return self.book.told_of(name)

    def counts(self) -> dict[str, int]:
        """Documents that are set aside now: for all proxies of a version, and for some."""
        active = [each.case for each in self.book.told() if each.active]
        whole = {case.name for case in active if case.for_all}
        return {"all": len(whole), "some": len({case.name for case in active} - whole)}

    def problems(self) -> dict[str, str]:
        """For `meshwright status`."""
        self._forget_gone()
        return problems(self.book.told(), self.book.odd)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be traced or tried."""
        return not (self._busy or self._waiting or self._trials)

    @property
    def saved(self) -> bool:
        """Whether all that is known would survive the end of the control plane."""
        return not (self._busy or self._unsaved.is_set())

    # What is done, until cancelled

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._trace_all(), name="quarantine: tracing")
            group.create_task(self._try_all(), name="quarantine: trials")
            group.create_task(self._save_all(), name="quarantine: saving")

    async def _trace_all(self) -> None:
        while True:
            await self._refused.wait()
            self._refused.clear()
            while self._waiting:
                refused = self._waiting.take()
                with self._working():
                    await self._trace(refused)
                await asyncio.sleep(0)

    async def _try_all(self) -> None:
        while True:
            await self._tried.wait()
            self._tried.clear()
            while self._trials:
                _, trial = self._trials.popitem(last=False)
                with self._working():
                    await self._try(trial)

    async def _save_all(self) -> None:
        while True:
            await self._unsaved.wait()
            await asyncio.sleep(QUIET)
            self._unsaved.clear()
            with self._working():
                content = file.written(self.book)
                try:
                    await asyncio.to_thread(file.save, self._folder, content)
                except OSError as error:
                    log.warning(
                        "the quarantine is not saved", folder=str(self._folder), reason=error.strerror
                    )

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """What goes wrong with one refusal must not keep others from being looked at: it is told."""
        self._busy += 1
        try:
            yield
        except Exception:
            log.exception("what was refused cannot be dealt with")
        finally:
            self._busy -= 1

    # From a refusal to a document

    async def _trace(self, refused: Refused) -> None:
        member, resource = self._member(refused.client), refused.resource
        if (
            member is None
            or self._publisher.given(refused.client, (resource.type_url, resource.name)) != resource.version
        ):
            return  # something else is on its way
        self._forget_gone()
        if refused.client in self.book.odd:
            return
        about = resource.type_url, resource.name, resource.version, member.envoy
        led_to = self._known.get(about)
        if led_to is not None and all(self.book.find(*each) for each in led_to):
            for each in led_to:
                case = self.book.find(*each)
                assert case is not None  # noqa: S101 (just found)
                self._accuse(case, refused)
            return
        state = self._publisher.edition(refused.client).state
        await self._learn(state, resource)
        found: list[Suspect] = []
        async for suspect in suspects(self.book, self._sketcher, member, state, refused.resource):
            known = self.book.find(suspect.name, suspect.revision, member.envoy)
            if known is not None and known.for_all:
                # It has been sent to one more before that was known.
                self._accuse(known, refused)
                return
            found.append(suspect)
            if len(found) >= SUSPECTS:
                break
        if not found:
            self._remember(about, ())
            self._teller.untraced(refused)
            return
        first, accused = found[0], None
        if first.changed or len(found) == 1:
            accused = self._accuse(self._case(first, refused, member), refused)
            if accused is None:
                return
            self._remember(about, (accused.id,))
        if len(self._trials) < TRIALS or about in self._trials:
            self._trials[about] = Trial(about, refused, member, tuple(found), accused)
            self._tried.set()

    async def _learn(self, state: MeshState, resource: Resource) -> None:
        """What the store knows of documents that have not changed since the control plane started."""
        if self._kept is None:
            return
        for name in tuple(documents_of(resource.origin))[:SUSPECTS]:
            found = in_force(state, name)
            if found is not None and found[0] == self._kept.source and not self.book.history.of(name):
                self.book.history.learn(name, await self._kept.earlier(name))

    def _remember(self, about: About, led_to: tuple[CaseName, ...]) -> None:
        self._known[about] = led_to
        self._known.move_to_end(about)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def _forget_gone(self) -> None:
        """Before somebody is told or given what depends on who else is there."""
        if self.book.remembers:
            self.book.forget_gone({each.client for each in self._publisher.clients()})

    def _member(self, client: str) -> Member | None:
        try:
            return self._publisher.member(client)
        except KeyError:
            return None  # its stream has ended meanwhile

    def _case(self, suspect: Suspect, refused: Refused, member: Member) -> Case:
        known = self.book.find(suspect.name, suspect.revision, member.envoy)
        return known or Case(
            suspect.name,
            suspect.revision,
            member.envoy,
            refused.about,
            refused.message,
            suspect.origin,
            self._clock(),
            protects=self.book.protects(suspect.name),
        )

    def _accuse(self, case: Case, refused: Refused) -> Case | None:
        """Set aside for the client at once; None where it refuses too much. For all, if that follows."""
        known = self.book.find(*case.id)
        if known is not None and known.for_all:
            self._pipeline.reassign([refused.client])
            return known
        if refused.client not in case.clients and not self.book.may_accuse(refused.client, self._clock()):
            self._pipeline.reassign([refused.client])
            return None
        after = case.refused_by(refused.client, refused.identity)
        self._put(known, after)
        if not after.for_all:
            self._pipeline.reassign([refused.client])
        return after

    def _put(self, known: Case | None, case: Case) -> None:
        if known is case:
            return
        self.book.put(case, self._pipeline.state)
        self._unsaved.set()
        if known is None:
            self._teller.tell(QUARANTINED, case, why=case.message)
        if case.for_all and (known is None or not known.for_all):
            self._teller.tell(FOR_ALL, case, why=case.message)
            self._pipeline.reassign()

    # From a document to a verdict

    async def _try(self, trial: Trial) -> None:
        member, resource = trial.member, trial.refused.resource
        known = self.book.find(*trial.accused.id) if trial.accused is not None else None
        if known is not None and known.verdict is Verdict.REFUSES:
            return  # others refused something else of it, which was tried meanwhile
        around = self._around(member.client)
        whole = Rendered(resource.type_url, resource.name, resource.body)
        accepted = await self._envoys.accepts(member.envoy, whole, around)
        found: tuple[Suspect, ...] = ()
        if accepted is False:
            found = await guilty(trial, self._envoys, self._sketcher, around)
        if found:
            self._convict(trial, found)
            return
        verdict = Verdict.ACCEPTS if accepted else Verdict.UNKNOWN
        accused = trial.accused
        if accused is None:
            # None has changed, and nobody here can tell: the first that would make it another resource, for this client.
            accused = self._accuse(self._case(trial.suspects[0], trial.refused, member), trial.refused)
        known = self.book.find(*accused.id) if accused is not None else None
        if known is not None and known.verdict is Verdict.PENDING:
            self._put(known, replace(known, verdict=verdict))

    def _convict(self, trial: Trial, found: Collection[Suspect]) -> None:
        refused, member = trial.refused, trial.member
        self._remember(trial.about, tuple((each.name, each.revision, member.envoy) for each in found))
        for suspect in found:
            known = self.book.find(suspect.name, suspect.revision, member.envoy)
            case = (known or self._case(suspect, refused, member)).refused_by(
                refused.client, refused.identity
            )
            self._put(known, replace(case, verdict=Verdict.REFUSES))
        innocent = trial.accused
        if innocent is not None and innocent.name not in {each.name for each in found}:
            known = self.book.find(*innocent.id)
            if known is not None and known.verdict is Verdict.PENDING:
                self.book.drop(known)
                self._teller.tell(RELEASED, known, why="another one is guilty")
                self._changed_for_all()

    def _around(self, client: str) -> Neighbours:
        scopes = self._publisher.scopes_of(client)
        clusters = (
            each.name
            for scope in scopes
            for each in self._publisher.contents_of(scope)
            if each.type_url == CLUSTER
        )
        return Neighbours(scopes, tuple(clusters))

    def _changed_for_all(self) -> None:
        self._pipeline.reassign()
        self._unsaved.set()
