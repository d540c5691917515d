"""Several control planes over one store: each says there how far its proxies are, so that `wait` and `status` speak of all.

What a replica says is short, for Consul keeps it in memory, and goes by itself when the replica has gone. One that stops says so; who goes
without a word may have proxies that hold what was, and is waited for some minutes more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterable
from typing import Final

import structlog
from pydantic import ValidationError

from api.shapes.acknowledgements import Acknowledgements
from api.shapes.status import ReplicaStatus
from meshwright.acknowledged import Acknowledged
from store.backend import Backend
from store.errors import StoreError

PREFIX: Final = "acknowledged/"
BEAT: Final = 5.0
"""Seconds after which a replica says again that it is there, also when nothing has changed."""
LIFE: Final = 20.0
"""Seconds after which what a replica has said is gone, if it says nothing more."""
LOOK: Final = 0.25
"""Seconds between two looks at what the others say, while somebody waits for them; and between two things that a replica says."""
LEFT: Final = "acknowledged-left/"
"""Where a replica that stops says so: for good, for what has a time to live goes with it. Others clear it away."""
GONE: Final = 180.0
"""Seconds for which a replica that is gone without a word is waited for, and for which the word of one that stopped is kept."""
NAMED: Final = 50
"""Proxies that a replica names of those that are behind, and of those that refuse."""

log = structlog.get_logger(__name__)


def replica_name(chance: Callable[[], float]) -> str:
    """Tells apart the control planes of all hosts, and one from that which ran here before."""
    return f"{socket.gethostname()}-{int(chance() * 0x10000):04x}"


class Replicas:
    """`name`: this one's, the same for as long as it runs. Where `backend` is None nobody else can be there."""

    def __init__(
        self,
        acknowledged: Acknowledged,
        name: str,
        backend: Backend | None,
        clock: Callable[[], float],
    ) -> None:
        self._acknowledged = acknowledged
        self._name = name
        self._backend = backend
        self._clock = clock
        self._others: tuple[Acknowledgements, ...] = ()
        # When others were there last; and since when it is known of which that they stopped, None at first: nobody was looked for.
        self._seen: dict[str, float] = {}
        self._stopped: dict[str, float] | None = None

    async def run(self) -> None:
        """Say how far this replica is, whenever that is news and now and then besides; until cancelled, which takes it back."""
        if self._backend is None:
            return
        key, said, at = PREFIX + self._name, b"", -math.inf
        words, moved = b"", (-1, -1)
        try:
            while True:
                if self._acknowledged.moved() != moved or self._clock() - at >= BEAT:
                    words = self._words()
                    moved = self._acknowledged.moved()
                if words != said or self._clock() - at >= BEAT:
                    try:
                        await self._backend.publish(key, words, LIFE)
                        said, at = words, self._clock()
                        self._others = await self._asked()
                    except StoreError as error:
                        log.warning(
                            "other control planes are not told how far this one is", reason=str(error)
                        )
                        await asyncio.sleep(BEAT)
                await asyncio.sleep(LOOK)
        finally:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._backend.publish(LEFT + self._name, b"stopped")
                    await self._backend.withdraw(key)

    async def wait(self, number: int, seconds: float) -> Acknowledgements:
        """How far revision `number` is everywhere, when everybody has answered or `seconds` are over. StoreError."""
        deadline = self._clock() + seconds
        own = await self._acknowledged.wait(number, seconds)
        if self._backend is None:
            return own
        while True:
            found = _together(number, self._own(number), await self._asked())
            if found.state in {"acknowledged", "refused"} or self._clock() >= deadline:
                return found
            await asyncio.sleep(min(LOOK, max(0.0, deadline - self._clock())))

    def status(self) -> tuple[ReplicaStatus, ...]:
        """This replica and the others, as they said last; none where there can be but one."""
        if self._backend is None:
            return ()
        own = self._own(self._acknowledged.newest())
        return tuple(_line(each) for each in sorted((own, *self._others), key=lambda each: each.replica))

    def _own(self, number: int) -> Acknowledgements:
        found = self._acknowledged.report(number)
        named = {
            "replica": self._name,
            "behind": tuple(each.model_copy(update={"replica": self._name}) for each in found.behind),
            "refused": tuple(each.model_copy(update={"replica": self._name}) for each in found.refused),
        }
        return found.model_copy(update=named)

    def _words(self) -> bytes:
        """What it says of its newest revision. Ages are left out: they would be news all the time."""
        own = self._own(self._acknowledged.newest())
        short = {
            "behind": own.behind[:NAMED],
            "refused": tuple(
                each.model_copy(update={"seconds": 0.0, "message": each.message[:300]})
                for each in own.refused[:NAMED]
            ),
            "quarantined": own.quarantined[:NAMED],
        }
        return own.model_copy(update=short).model_dump_json(by_alias=True).encode()

    async def _asked(self) -> tuple[Acknowledgements, ...]:
        """What the others say."""
        assert self._backend is not None  # noqa: S101 (nobody asks without)
        found = []
        said = await self._backend.published(PREFIX)
        said.pop(PREFIX + self._name, None)
        for key, value in said.items():
            self._seen[key.removeprefix(PREFIX)] = self._clock()
            try:
                found.append(Acknowledgements.model_validate_json(value))
            except ValidationError:
                # Of another version: what it has to say is not known, and it is waited for.
                found.append(_silent(key.removeprefix(PREFIX)))
        missing = {name for name in self._seen if PREFIX + name not in said}
        return (*found, *map(_silent, sorted(await self._gone(self._backend, missing))))

    async def _gone(self, backend: Backend, missing: set[str]) -> set[str]:
        """Those of `missing` that went without a word, not long ago."""
        now = self._clock()
        if missing or self._stopped is None:
            stopped = {key.removeprefix(LEFT) for key in await backend.published(LEFT)}
            self._stopped = {name: (self._stopped or {}).get(name, now) for name in stopped}
        for name in missing:
            if name in self._stopped or now - self._seen.get(name, -math.inf) >= GONE:
                self._seen.pop(name, None)
        for name in [name for name, since in self._stopped.items() if now - since >= GONE]:
            await backend.withdraw(LEFT + name)
            self._stopped.pop(name, None)
        return missing & self._seen.keys()


def _silent(name: str) -> Acknowledgements:
    return Acknowledgements(revision=0, state="pending", proxies=0, behind=(), refused=(), replica=name)


def _together(number: int, own: Acknowledgements, others: Iterable[Acknowledgements]) -> Acknowledgements:
    """What all say of revision `number`. Who speaks of an older one has not taken it yet; a newer one covers it."""
    others = tuple(others)
    late = tuple(sorted(each.replica for each in others if each.revision < number or each.state == "pending"))
    every = (own, *(each for each in others if each.replica not in late))
    behind = tuple(proxy for each in every for proxy in each.behind)
    refused = tuple(proxy for each in every for proxy in each.refused)
    pending = own.state == "pending" or bool(late)
    state = "pending" if pending else "waiting" if behind else "refused" if refused else "acknowledged"
    return own.model_copy(
        update={
            "state": state,
            "proxies": sum(each.proxies for each in (own, *others)),
            "behind": behind,
            "refused": refused,
            "quarantined": tuple(sorted({name for each in every for name in each.quarantined})),
            "replicas": 1 + len(others),
            "silent": late,
            "replica": "",
        }
    )


def _line(said: Acknowledgements) -> ReplicaStatus:
    return ReplicaStatus(
        replica=said.replica,
        revision=said.revision,
        state=said.state,
        proxies=said.proxies,
        behind=tuple(each.proxy for each in said.behind),
        refusing=tuple(sorted({each.proxy for each in said.refused})),
    )
