"""The shell of root rotation: feeds `ca.rotation` with what proxies acknowledge, and does what it decides.

Each step is put on the disk before anything of it is seen, and may be done again: after a crash the parts of the control
plane are opened with the state on the disk, which is the same as having done all that it asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from api.shapes.ca import CaStatus, MoveStatus
from ca.errors import CaError, CannotRotate
from ca.federation import Federated
from ca.ledger_file import LedgerFile
from ca.peer import Proved
from ca.rotation import (
    Action,
    Generation,
    Holder,
    Lag,
    Leaf,
    RotatingAuthority,
    Rotation,
    Stage,
    Step,
    abort,
    advance,
    begin,
    lack_of,
    lagging,
    proceed,
)
from ca.server_tls import ServerCertificate
from ca.times import Chance, Clock
from ca.trust import TrustService
from mesh.names import Key
from meshwright.keeper import SecretKeeper
from meshwright.rotation_status import ca_status
from meshwright.rotation_told import RotationTold
from xds.stream import Stream
from xds.types import SECRET

PACE: Final = 50.0
"""Renewals a second, about, when everybody is to have a new leaf. Each costs a millisecond of CPU and a handshake."""
TICK, IDLE_TICK = 0.25, 1.0
"""Seconds between looks, while a rotation goes on and while none does."""
AT_ONCE: Final = 100
"""Leaves that are looked at before the loop has its turn: a millisecond's work."""
HASTEN_AGAIN: Final = 10.0
SETTLED: Final = 5.0
"""Seconds after which a stream that has not asked for secrets counts as one that has none. Envoy asks for all that it has at once."""
QUIET, QUIET_MOST = 1.0, 10.0
"""Seconds between the last acknowledgement of a stage and the next stage. Envoy uses a secret up to 0.1 s after it has acknowledged it.
Where proxies come and go all the time, it is not waited longer than the second of the two.
"""
FORGOTTEN: Final = "an operator's word: the rotation of the root does not wait for this proxy any more"

log = structlog.get_logger(__name__)


class Rotator:
    """Owns what goes on.

    `streams_of` gives the streams of a workload that have proved to be it, and `served` says of one whether it is answered: it waits as
    long as no source declares its workload.
    """

    def __init__(
        self,
        authority: RotatingAuthority,
        ledger: LedgerFile,
        keeper: SecretKeeper,
        certificate: ServerCertificate,
        *,
        streams_of: Callable[[Key], Iterable[Stream]],
        served: Callable[[Stream], bool],
        clock: Clock,
        monotonic: Callable[[], float],
        chance: Chance,
        registry: CollectorRegistry,
        stale: Callable[[Proved], str | None],
        record: Callable[[str, dict[str, str]], None] = lambda *_: None,
        federated: Callable[[], Federated] = tuple,
        followed: timedelta = timedelta(0),
        aliases: tuple[str, ...] = (),
        move: Callable[[], MoveStatus | None] = lambda: None,
    ) -> None:
        """`aliases`: see `mesh.identity.TrustDomains`; `move` tells of a move between trust domains. `federated`: see `TrustService`. `followed`: how long it takes other meshes to hear of a new root of ours. `record` is told of each command and stage, for the audit log."""
        self._authority = authority
        self._file = ledger
        self._ledger = ledger.ledger
        self._keeper = keeper
        self._certificate = certificate
        self._streams_of = streams_of
        self._served = served
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._record = record
        self._followed = followed
        self._woken = asyncio.Event()
        self._stepping = asyncio.Lock()
        self._todo: list[Action] = []
        self._given_up: set[str] = set()  # workloads that this rotation waits for no longer, whatever they do
        self._window = 0.0
        self._hastened = 0.0
        self._lagged, self._clear = monotonic(), 0.0
        self._told = RotationTold(authority, registry)
        # What the proxies are given was made from the state on the disk, so that nothing is to be done for it again.
        self._roots_version = keeper.publish_roots()
        self.trust = TrustService(
            authority,
            self._ledger,
            clock=clock,
            hasten=self._hasten,
            stale=stale,
            on_report=self._woken.set,
            federated=federated,
            aliases=aliases,
        )
        self._move = move

    # Commands

    async def rotate(self, *, root: bool, by_hand: bool) -> CaStatus:
        """Begin to move to a new root, or to a new intermediate alone. CannotRotate, AuthorityError or OSError if that cannot be."""
        async with self._stepping:
            await self._finish()
            rotation = self._authority.rotation
            if rotation.stage is not Stage.STABLE:
                begin(rotation, rotation.base, self._clock())  # raises, and says why
            following: Generation = await self._authority.prepare(root=root)
            await self._take(begin(rotation, following, self._clock(), by_hand=by_hand))
        return self.status()

    async def abort(self) -> CaStatus:
        """Turn back. CannotRotate if nothing goes on."""
        async with self._stepping:
            await self._take(abort(self._authority.rotation, self._clock()))
        return self.status()

    async def proceed(self) -> CaStatus:
        """What an operator was waited for may go on. CannotRotate if nobody was."""
        async with self._stepping:
            await self._take(proceed(self._authority.rotation))
        return self.status()

    async def forget(self, workload: str, *, even_if_connected: bool = False) -> CaStatus:
        """Wait no longer for a proxy that is gone for good. CannotRotate if it holds no leaf, or is here.

        With `even_if_connected`, its streams are ended, and the rotation that goes on waits for nothing of it, though it come back: it
        may be hostile, and say what it likes.
        """
        streams = list(self._streams_of(Key.parse(workload)))
        if not even_if_connected and (workload in self.trust.watched() or streams):
            raise CannotRotate(
                f"the proxy of {workload} is connected: stop it first, if it is to be forgotten, "
                "or say --even-if-connected"
            )
        if not self._ledger.forget(workload):
            raise CannotRotate(
                f"no certificate of {workload} is known that has not ended: nothing waits for it"
            )
        if even_if_connected:
            if self._authority.rotation.stage is not Stage.STABLE:
                self._given_up.add(workload)
            self.trust.end(workload, FORGOTTEN)
            for stream in streams:
                stream.end(FORGOTTEN)
        log.warning("a proxy is not waited for any more, by an operator's word", workload=workload)
        self._record("ca forget", {"workload": workload})
        self._woken.set()
        return self.status()

    async def roots_changed(self) -> None:
        """The roots of an authority that is kept elsewhere are others now: tell everybody."""
        async with self._stepping:
            self._ledger.restricted(self._authority.rotation.bundle)
            await self._file.sync()
            self._todo.append(Action.PUBLISH)
            await self._finish()

    def federation_changed(self) -> None:
        """The bundles of foreign trust domains are others now: tell everybody."""
        self._roots_version = self._keeper.publish_roots()
        self.trust.wake()
        self._woken.set()

    # The task

    async def run(self) -> None:
        """Go on whenever it is time, until cancelled."""
        while True:
            going_on = self._authority.rotation.stage is not Stage.STABLE
            try:
                await asyncio.wait_for(self._woken.wait(), TICK if going_on else IDLE_TICK)
                self._woken.clear()
                await asyncio.sleep(TICK / 5 if going_on else IDLE_TICK)  # many report at the same time
            except TimeoutError:
                pass
            try:
                await self._look()
            except (CaError, OSError) as error:
                log.warning(
                    "the rotation of the root cannot go on now, and is tried again", reason=str(error)
                )
                await asyncio.sleep(IDLE_TICK)

    async def _look(self) -> None:
        now = self._clock()
        self._ledger.expire(now)
        self._told.warn(now)
        async with self._stepping:
            await self._file.sync()
            if self._file.grown:
                await self._file.rewrite()
            await self._finish()
            while self._authority.rotation.stage is not Stage.STABLE:
                lags = await self._lags()
                self._told.measure(lags)
                waited_for = [lag.leaf for lag in lags]
                step = advance(self._authority.rotation, waited_for, self._clock())
                if not self._quiet(lags) or step is None or self._unheard():
                    self._told.waits(lags, now)
                    if self._monotonic() - self._hastened > HASTEN_AGAIN:
                        self._hasten_envoys()  # one that was being issued when signing began
                    return
                await self._take(step)

    async def _lags(self) -> list[Lag]:
        """Whom the stage waits for, now that every Envoy was looked at. Others have their turn while many are."""
        rotation, now, changes = self._authority.rotation, self._clock(), self._ledger.changes
        lags: list[Lag] = []
        seen: set[str] = set()
        for number, serial in enumerate(self._ledger.serials(), start=1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            leaf = self._ledger.find(serial)
            if leaf is None or lack_of(rotation, leaf) is None:
                continue
            if leaf.holder is Holder.ENVOY and leaf.workload not in seen:
                seen.add(leaf.workload)
                self._observe(leaf, rotation)
                leaf = self._ledger.find(serial)
            if leaf is not None:
                lags += self._waited_for(rotation, (leaf,), now)
        if not lags and self._ledger.changes != changes:
            # That nobody lags has to be true of one moment.
            return self._waited_for(rotation, self._ledger.leaves(), now)
        return lags

    def _quiet(self, lags: list[Lag]) -> bool:
        """Whether what was acknowledged in this stage is in use everywhere, too."""
        now = self._monotonic()
        if lags:
            self._lagged = now
            return False
        self._clear = self._clear or now
        return now - self._lagged >= QUIET or now - self._clear >= QUIET_MOST

    def _unheard(self) -> bool:
        """Whether other meshes, of which nothing is told, may not have heard of a new root of ours yet."""
        rotation = self._authority.rotation
        return (
            rotation.stage is Stage.TRUSTING
            and not rotation.aborting
            and self._clock() - rotation.since < self._followed
        )

    def _waited_for(self, rotation: Rotation, leaves: Iterable[Leaf], now: datetime) -> list[Lag]:
        return [
            lag
            for lag in lagging(rotation, leaves, now)
            if lag.leaf.workload not in self._given_up and not self._excused(lag.leaf, rotation)
        ]

    def _excused(self, leaf: Leaf, rotation: Rotation) -> bool:
        """Whether this is an Envoy that is here, but that no source declares: it is called by nobody, and given nothing.

        When it is declared, it is given what everybody has by then, in one answer; what is kept for it has to be of that.
        """
        if leaf.holder is not Holder.ENVOY:
            return False
        workload = Key.parse(leaf.workload)
        streams, kept = list(self._streams_of(workload)), self._keeper.kept(workload)
        if not streams or kept is None or any(map(self._served, streams)):
            return False
        return rotation.stage is not Stage.SIGNING or kept.generation == rotation.signing

    def _observe(self, leaf: Leaf, rotation: Rotation) -> None:
        """Enter in the ledger what the Envoys of a workload have acknowledged."""
        workload = Key.parse(leaf.workload)
        streams, kept = list(self._streams_of(workload)), self._keeper.kept(workload)
        if not streams or kept is None:
            return
        if all(self._holds(stream, "identity", kept.version) for stream in streams):
            self._ledger.confirmed(kept.serial)
        if all(self._holds(stream, "roots", self._roots_version) for stream in streams):
            self._ledger.acknowledged(leaf.family, frozenset(rotation.bundle), rotation.bundle)

    def _holds(self, stream: Stream, name: str, version: str) -> bool:
        """Whether a client holds this version of a secret; or has shown that it has no use for it, and holds none."""
        session = stream.session
        if session.subscribes(SECRET, name):
            return session.acknowledged(SECRET, name) == version
        return session.settled and self._monotonic() - stream.connected_at > SETTLED

    async def _take(self, step: Step) -> None:
        """Make `step` the state, on the disk first; then do what it asks for."""
        if Action.PUBLISH in step.actions:
            self._ledger.restricted(step.rotation.bundle)
            await self._file.sync()
        before, after = self._authority.rotation, step.rotation
        await self._authority.install(after)
        if after.stage is Stage.STABLE:
            self._given_up.clear()
        self._todo += step.actions
        self._clear, self._lagged = 0.0, self._monotonic()
        if after.stage is not before.stage or after.aborting is not before.aborting:
            told = {"stage": after.stage.value, "before": before.stage.value}
            log.info("rotation of the root", **told, aborting=after.aborting, leaves=len(self._ledger))
            self._record("ca rotation", {**told, "aborting": "yes" if after.aborting else ""})
        self._told.began()
        self._woken.set()
        await self._finish()

    async def _finish(self) -> None:
        """Do what is left to be done. What fails is tried again, and nothing goes on before."""
        while self._todo:
            await self._do(self._todo[0])
            del self._todo[0]

    async def _do(self, action: Action) -> None:
        match action:
            case Action.PUBLISH:
                await self._certificate.renew()  # our own doors trust first
                self._roots_version = self._keeper.publish_roots()
                self.trust.wake()
            case Action.SIGN:
                await self._certificate.renew()
                self._window = len(self._ledger) / PACE
                self._hasten_envoys()
                self.trust.wake()
            case Action.TIDY:
                await self._authority.tidy()

    def _hasten_envoys(self) -> None:
        self._hastened = self._monotonic()
        if self._authority.rotation.stage is Stage.SIGNING:
            self._keeper.hasten(
                self._authority.rotation.signing, lambda: timedelta(seconds=self._window * self._chance())
            )

    def _hasten(self, leaf: Leaf) -> float | None:
        """When the agent that holds `leaf` is to renew it: all of them spread over some time."""
        rotation = self._authority.rotation
        if rotation.stage is not Stage.SIGNING or leaf.generation == rotation.signing:
            return None
        return self._window * self._chance()

    def status(self) -> CaStatus:
        rotation, now = self._authority.rotation, self._clock()
        leaves = [leaf for leaf in self._ledger.leaves() if leaf.not_after > now]
        return ca_status(
            self._authority,
            leaves=len(leaves),
            lags=self._waited_for(rotation, leaves, now),
            streams_of=self._streams_of,
            watched=self.trust.watched,
            warnings=self._told.warnings(now),
            move=self._move(),
        )
