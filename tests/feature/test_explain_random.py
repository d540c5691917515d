"""What an explanation says of a request is what real sidecars make of it: random meshes of routes, splits, redirects, rewrites, header
changes, access policies, tokens, faults and a gateway, and random requests to them.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from explain.answer import Ending, Outcome
from explain.explaining import explain
from explain.text import lines
from explain.world import World
from mesh.names import Key
from tests.support.explain_envoy import Told, application, ask, proxies
from tests.support.explain_random import BARE, CALLER, EDGE, SERVICES, SIDECARS, MeshDraw, Ports
from tests.support.ports import free_ports
from tests.support.tokens import Issuer, SigningKey

REQUESTS = 110


def ports() -> Ports:
    workloads = (*SIDECARS, BARE)
    served = [(name, service) for name in SIDECARS for service in SERVICES]
    sidecars = (CALLER, *SIDECARS)
    free = iter(free_ports(len(sidecars) + len(workloads) + len(served) + 1))
    return Ports(
        {each: next(free) for each in sidecars},
        {each: next(free) for each in workloads},
        {each: next(free) for each in served},
        next(free),
    )


def agrees(outcome: Outcome, told: Told) -> bool:
    """Whether an answer is the one that `outcome` foresees."""
    match outcome.ending:
        case Ending.APPLICATION:
            return (
                told.status == 200
                and told.cluster == outcome.clusters[0]
                and (told.arrived == outcome.arrives)
                and f"default/{told.workload}" in outcome.workloads
            )
        case Ending.ANSWERED:
            # What never went there names a cluster all the same, where one was drawn before it was answered.
            sent_to = not outcome.clusters or told.cluster in {"", outcome.clusters[0]}
            same = told.status == outcome.status and told.location == outcome.location
            return same and sent_to and not told.workload
        case _:
            return False


async def compare(folder: Path, seed: int, requests: int) -> tuple[int, dict[str, int]]:
    """How many of the questions have one answer only, and how often each ending and status was met."""
    taken = ports()
    issuers = [Issuer(f"https://idp.example/{name}", [SigningKey.ec(name)]) for name in ("a", "b", "nobody")]
    draw = MeshDraw(seed, taken, issuers)
    state = draw.state()
    world = World.of(state)
    certain, met = 0, dict[str, int]()
    async with contextlib.AsyncExitStack() as stack:
        for name, port in taken.application.items():
            await stack.enter_async_context(application(name, port))
        await stack.enter_async_context(proxies(folder, state, (CALLER, EDGE), SIDECARS))
        for number in range(requests):
            question = draw.question()
            found = explain(world, question)
            outcomes = found.outcomes()
            assert sum((part for part, _ in outcomes), Fraction(0)) == 1
            claims: dict[str, Any] = dict(question.claims or {})
            signed = (each.token(**claims) for each in issuers if each.name == claims.get("iss"))
            port = taken.edge if question.gateway else taken.outbound[CALLER]
            told = await ask(port, question, next(signed, ""))
            said = "\n".join(lines(found))
            assert any(agrees(each, told) for _, each in outcomes), (
                f"seed {seed}, {number}: {question}\n{told}\n{said}"
            )
            certain += len(outcomes) == 1
            ending = f"{outcomes[0][1].ending} {told.status}"
            met[ending] = met.get(ending, 0) + 1
    assert Key.parse(CALLER) in state.workloads
    return certain, met


@pytest.mark.parametrize("seed", [1, 2])
async def test_explanations_agree_with_envoy(seed: int, tmp_path: Path) -> None:
    certain, met = await compare(tmp_path, seed, REQUESTS)
    assert certain >= REQUESTS // 3, "many questions have one answer only, so that agreeing says something"
    assert len(met) >= 4, met


@pytest.mark.heavy
@pytest.mark.timeout(1800)
async def test_thousands_of_explanations_agree_with_envoy(tmp_path: Path) -> None:
    every: dict[str, int] = {}
    for seed in range(100, 125):
        folder = tmp_path / str(seed)
        folder.mkdir()
        _, met = await compare(folder, seed, 200)
        for ending, times in met.items():
            every[ending] = every.get(ending, 0) + times
    assert sum(every.values()) == 5000
    assert {
        "application 200",
        "answered 403",
        "answered 404",
        "answered 503",
        "answered 500",
    } <= every.keys(), every
