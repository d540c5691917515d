"""The shell of a move between trust domains: holds the settings against what was known before, and finds out who has heard of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from api.shapes.ca import AliasStatus, MoveStatus, MoveWaits
from ca.ledger import Ledger
from ca.move import UNKNOWN, Known, become, begin, heard
from ca.rotation import Holder, Leaf
from ca.saved import MOVE
from ca.times import Clock
from mesh.identity import TrustDomains
from mesh.names import Key
from xds.stream import Stream
from xds.types import LISTENER

EVERY: Final = 1.0
"""Seconds between two looks. Who has acknowledged all twice in a row is taken to use it: Envoy's threads do so up to 0.1 s later."""
AT_ONCE: Final = 100
"""Workloads that are looked at before the loop has its turn."""
SHOWN: Final = 100
CONFIGURATION: Final = "has not taken the configuration with both names"
AGENT: Final = "its agent has not heard of both names"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    """Workloads, since this start: whose Envoys had all once and twice in a row, and whose agents have been told."""

    once: set[str] = field(default_factory=set)
    configured: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)


class Move:
    """Use it from one event loop; `watch` before `run`."""

    def __init__(self, directory: Path, known: Known, ledger: Ledger, clock: Clock) -> None:
        """For `open`."""
        self._directory = directory
        self._known = known
        self._ledger = ledger
        self._clock = clock
        self._seen = _Seen()
        self._streams_of: Callable[[Key], Iterable[Stream]] = lambda _: ()
        self._told: Callable[[str], bool] = lambda _: True
        self._roots: Callable[[], frozenset[str]] = frozenset

    @classmethod
    def open(
        cls,
        directory: Path,
        domains: TrustDomains,
        ledger: Ledger,
        clock: Clock,
        *,
        roots: frozenset[str],
    ) -> Move:
        """Take up `domains`, as they are set now, and keep that in `directory`. `roots`: the trust domains that the authority's roots name.

        CannotMove, with the way out, if they may not follow upon those of before yet; DamagedAuthority; OSError. Writes a file.
        """
        before = MOVE.load(directory)
        if before is None:
            # A mesh of before there were moves: where its root does not say what it was, it is what is set.
            names = roots & {*domains.all}
            before = begin(TrustDomains(min(names) if len(names) == 1 else domains.own))
        held: dict[str, list[str]] = {}
        now = clock()
        for leaf in _good(ledger, now):
            held.setdefault(leaf.trust_domain, []).append(leaf.workload)
        known = become(before, domains, held, now)
        if known != before or len(domains.all) > 1:
            MOVE.save(directory, known)
        return cls(directory, known, ledger, clock)

    @property
    def domains(self) -> TrustDomains:
        """As they are set, and what some may still be known by."""
        return replace(self._known.domains, former=tuple(name for name, _ in self._known.left))

    def watch(
        self,
        streams_of: Callable[[Key], Iterable[Stream]],
        told: Callable[[str], bool],
        roots: Callable[[], frozenset[str]],
    ) -> None:
        """`streams_of` gives the streams that have proved to be a workload's; `told` says whether its agent has been told of the trust
        domains; `roots`: as of `open`, now.
        """
        self._streams_of, self._told, self._roots = streams_of, told, roots

    async def run(self) -> None:
        """Find out when everybody has heard, until then or until cancelled."""
        while not self._known.heard:
            await asyncio.sleep(EVERY)
            try:
                await self._look()
            except OSError as error:
                log.warning("who has heard of the trust domains cannot be kept", reason=str(error))

    async def _look(self) -> None:
        workloads = {leaf.workload for leaf in _good(self._ledger, self._clock())}
        for number, workload in enumerate(sorted(workloads - {""}), start=1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            self._see(workload)
        # Of one moment: some were issued a certificate meanwhile.
        if any(self._lack(leaf) for leaf in _good(self._ledger, self._clock())):
            return
        known = heard(self._known)
        await asyncio.to_thread(MOVE.save, self._directory, known)
        self._known = known
        log.info("every proxy has heard of the trust domains", trust_domains=known.domains.all)

    def _see(self, workload: str) -> None:
        """What the proxies of `workload` have taken by now."""
        seen = self._seen
        if workload not in seen.told and self._told(workload):
            seen.told.add(workload)
        if workload in seen.configured:
            return
        if not _have_all(list(self._streams_of(Key.parse(workload)))):
            seen.once.discard(workload)
        elif workload in seen.once:
            seen.configured.add(workload)
        else:
            seen.once.add(workload)

    def _lack(self, leaf: Leaf) -> str:
        """What its holder has not heard of; empty if nothing."""
        if leaf.workload not in self._seen.configured:
            return CONFIGURATION
        return AGENT if leaf.holder is Holder.AGENT and leaf.workload not in self._seen.told else ""

    def status(self) -> MoveStatus | None:
        """None where there is nothing to tell: no alias, and everybody has heard."""
        known = self._known
        if known.heard and not known.domains.aliases:
            return None
        leaves = _good(self._ledger, self._clock())
        lacking = (
            {} if known.heard else {leaf.workload: lack for leaf in leaves if (lack := self._lack(leaf))}
        )
        return MoveStatus(
            trust_domain=known.domains.own,
            aliases=tuple(self._alias(each, leaves) for each in known.domains.aliases),
            heard=known.heard,
            waits_for=tuple(self._waits(lacking))[:SHOWN],
            waits_for_in_all=len(lacking),
        )

    def _alias(self, name: str, leaves: Iterable[Leaf]) -> AliasStatus:
        named = [leaf for leaf in leaves if leaf.trust_domain in {name, UNKNOWN}]
        keeps = ""
        if name in self._known.asked:
            keeps = "not every proxy has heard of the other name"
        elif named:
            keeps = "there are certificates of it: wait until they were renewed, or `meshwright ca rotate`"
        elif name in self._roots():
            keeps = "the root is named so: `meshwright ca rotate`"
        return AliasStatus(name=name, certificates=len(named), keeps=keeps, next=name in self._known.accepted)

    def _waits(self, lacking: dict[str, str]) -> Iterator[MoveWaits]:
        for workload, lack in sorted(lacking.items()):
            here = bool(workload) and any(True for _ in self._streams_of(Key.parse(workload)))
            yield MoveWaits(workload=workload or "(unknown)", connected=here, lacks=lack)


def _good(ledger: Ledger, now: datetime) -> list[Leaf]:
    return [leaf for leaf in ledger.leaves() if leaf.not_after > now]


def _have_all(streams: list[Stream]) -> bool:
    """Whether all that is asked for on `streams`, those of one proxy, is acknowledged, listeners among it. An Envoy asks for some secrets on
    streams of their own, and for listeners last of what it begins with.
    """
    states = [(stream, kind) for stream in streams for kind in stream.session.states]
    return any(kind == LISTENER for _, kind in states) and all(
        stream.in_sync(kind) for stream, kind in states
    )
