"""Who is waited for, and what is told of those who do not answer, or refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from mesh.names import Key
from meshwright.acknowledged import KEPT, Acknowledged
from meshwright.metrics import Metrics
from meshwright.quarantine.book import Told
from meshwright.quarantine.cases import Case
from xds.state import Refusal
from xds.status import ClientStatus, TypeStatus
from xds.types import CLUSTER, LISTENER

PATIENCE = 30.0


@dataclass(eq=False)
class AStream:
    """One that has heard everything until `heard_until`."""

    client: str
    heard_until: float = 0.0
    connected_at: float = 0.0
    refusal: Refusal | None = None
    late: bool = False
    looked_at: int = 0

    @property
    def holds_back(self) -> bool:
        return self.refusal is not None

    def heard(self, since: float, type_url: str | None = None) -> bool:
        return self.heard_until >= since

    def status(self, now: float) -> ClientStatus:
        self.looked_at += 1
        behind = self.heard_until < now
        of = TypeStatus(
            type_url=LISTENER if self.refusal else CLUSTER,
            subscribed=None,
            responses=1,
            acknowledged=1,
            version="1",
            acknowledged_version="1",
            in_sync=not behind and self.refusal is None,
            pending=("default/api:80",) if behind else (),
            held_back=self.refusal.names if self.refusal else (),
            late=self.late,
            refusal=self.refusal,
        )
        return ClientStatus(
            self.client, self.client, "10.0.0.1:1", "envoy 1.40", "delta", 0.0, waiting=False, types=(of,)
        )


@dataclass
class Mesh:
    """A clock, the streams that are open, and a publication that may be held up."""

    now: float = 0.0
    open: list[AStream] = field(default_factory=list)
    published: asyncio.Event = field(default_factory=asyncio.Event)

    def streams(self) -> list[AStream]:
        return self.open

    async def settled(self) -> None:
        await self.published.wait()

    def clock(self) -> float:
        return self.now


@asynccontextmanager
async def watching(mesh: Mesh, *aside: Told) -> AsyncIterator[Acknowledged]:
    metrics = Metrics(CollectorRegistry())
    found = Acknowledged(mesh, mesh, mesh.clock, metrics, lambda: aside, lambda: 1007.0)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_revision_is_acknowledged_when_all_have_answered_since_it_was_published() -> None:
    quick, slow = AStream("default/quick", 10.0), AStream("default/slow", 4.0)
    mesh = Mesh(now=5.0, open=[quick, slow])
    async with watching(mesh) as acknowledged:
        assert acknowledged.report(1).state == "pending"
        acknowledged.applied(1)
        assert acknowledged.report(1).state == "pending"
        mesh.published.set()
        waited = await acknowledged.wait(1, 0.2)
        assert (waited.state, [each.proxy for each in waited.behind]) == ("waiting", ["default/slow"])
        assert waited.behind[0].pending == {"Cluster": ("default/api:80",)}
        mesh.now = 7.0
        slow.heard_until = 5.0
        done = await acknowledged.wait(1, PATIENCE)
        assert (done.state, done.proxies, done.took) == ("acknowledged", 2, 2.0)


async def test_who_refused_what_a_revision_wrote_is_named_also_when_it_is_given_something_else_by_now() -> (
    None
):
    name = ("EnvoyPatch", Key("default", "patch"))
    case = Case(
        name,
        "1f",
        "envoy 1.40",
        "Cluster default/api:80",
        "no",
        "store#2 EnvoyPatch default/patch",
        1000.0,
        clients=frozenset({"default/quick", "default/gone"}),
    )
    told = Told(case, active=True, instead=None, origin=("store#2 EnvoyPatch default/patch",))
    mesh = Mesh(now=5.0, open=[AStream("default/quick", 10.0), AStream("default/other", 10.0)])
    async with watching(mesh, told) as acknowledged:
        mesh.published.set()
        for number in (2, 3):
            acknowledged.applied(number)
        refused = await acknowledged.wait(2, PATIENCE)
        assert refused.state == "refused"
        ((proxy, kind, names, seconds),) = [
            (each.proxy, each.type, each.names, each.seconds) for each in refused.refused
        ]
        assert (proxy, kind, names, seconds) == ("default/quick", "Cluster", ("default/api:80",), 7.0)
        later = await acknowledged.wait(3, PATIENCE)
        assert (later.state, later.quarantined) == ("acknowledged", ("EnvoyPatch default/patch",))


async def test_who_does_not_answer_and_who_refuses_are_named_with_the_reason() -> None:
    refusal = Refusal("2", "7", ("outbound",), "unknown filter", 6.0, ("store#2 EnvoyPatch default/bad",))
    mesh = Mesh(
        now=8.0,
        open=[
            AStream("default/stuck", 1.0, late=True),
            AStream("default/refuses", 9.0, refusal=refusal),
            *(AStream(f"default/web-{number}", 9.0) for number in range(48)),
        ],
    )
    mesh.published.set()
    async with watching(mesh) as acknowledged:
        acknowledged.applied(2)
        found = await acknowledged.wait(2, 0.2)
        assert (found.state, found.proxies) == ("waiting", 50)
        (behind,) = found.behind
        assert (behind.proxy, behind.why) == (
            "default/stuck",
            "it was sent a response and does not answer",
        )
        (refused,) = found.refused
        assert (refused.proxy, refused.type, refused.names, refused.message) == (
            "default/refuses",
            "Listener",
            ("outbound",),
            "unknown filter",
        )
        assert (refused.documents, refused.seconds) == (("store#2 EnvoyPatch default/bad",), 2.0)
        mesh.open[0].heard_until = 9.0
        assert (await acknowledged.wait(2, PATIENCE)).state == "refused"


async def test_who_has_gone_is_not_waited_for_and_who_comes_later_is_given_all_of_it() -> None:
    mesh = Mesh(now=5.0, open=[AStream("default/gone", 1.0)])
    mesh.published.set()
    async with watching(mesh) as acknowledged:
        acknowledged.applied(1)
        assert (await acknowledged.wait(1, 0.2)).state == "waiting"
        mesh.open = [AStream("default/new", 1.0)]
        assert (await acknowledged.wait(1, PATIENCE)).state == "acknowledged"


async def test_a_newer_revision_tells_of_an_older_one_that_is_forgotten() -> None:
    mesh = Mesh(now=5.0)
    mesh.published.set()
    async with watching(mesh) as acknowledged:
        for number in range(10, 12 + KEPT):
            acknowledged.applied(number)
        assert (await acknowledged.wait(3, PATIENCE)).state == "acknowledged"
        assert acknowledged.newest() == 11 + KEPT
        assert acknowledged.report(12 + KEPT).state == "pending"


async def test_a_stream_that_is_stuck_costs_no_look_at_all_others() -> None:
    stuck, others = AStream("default/stuck", 1.0), [AStream(f"default/web-{n}", 9.0) for n in range(50)]
    mesh = Mesh(now=5.0, open=[stuck, *others])
    mesh.published.set()
    async with watching(mesh) as acknowledged:
        acknowledged.applied(1)
        assert (await acknowledged.wait(1, 0.3)).state == "waiting"
        assert stuck.looked_at == 1
        assert sum(each.looked_at for each in others) == 0


async def test_a_report_takes_the_news_from_nobody_who_waits() -> None:
    slow = AStream("default/slow", 1.0)
    mesh = Mesh(now=5.0, open=[slow])
    mesh.published.set()
    async with watching(mesh) as acknowledged:
        acknowledged.applied(1)
        assert (await acknowledged.wait(1, 0.1)).state == "waiting"
        waits = asyncio.create_task(acknowledged.wait(1, PATIENCE))
        await asyncio.sleep(0)  # it waits
        slow.heard_until = 5.0
        assert acknowledged.report(1).state == "acknowledged"
        assert (await asyncio.wait_for(waits, 5)).state == "acknowledged"


async def test_what_is_applied_while_another_is_published_is_not_taken_for_published() -> None:
    """Each publication is let through by itself."""

    class OneByOne(Mesh):
        async def settled(self) -> None:
            await super().settled()
            self.published.clear()

    mesh = OneByOne(now=5.0)
    async with watching(mesh) as acknowledged:
        acknowledged.applied(1)
        await asyncio.sleep(0)
        acknowledged.applied(2)
        mesh.published.set()
        assert (await acknowledged.wait(1, PATIENCE)).state == "acknowledged"
        assert acknowledged.report(2).state == "pending"
        mesh.published.set()
        assert (await acknowledged.wait(2, PATIENCE)).state == "acknowledged"
