"""What was written is answered once it is in force, however much of it came meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from envoy.render import Renderer
from mesh.events import Event, SourceSnapshot, SourceUpdate
from mesh.state import MeshState
from meshwright import answers_to_writes
from meshwright.answers_to_writes import AnswersToWrites
from meshwright.pipeline import Pace, Pipeline
from meshwright.publisher import Publisher
from policies.transport import Lately
from tests.support.builders import TRUST_DOMAIN, a_service
from tests.support.policy_documents import declared
from xds.cache import ResourceCache

WRITES = 100


def timeout(seconds: int) -> SourceSnapshot:
    text = (
        "apiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata: {name: t}\n"
        f"spec: {{targetRefs: [{{kind: Mesh}}], request: {seconds}s}}\n"
    )
    return SourceSnapshot("test", (a_service(),), (), declared(text))


async def test_what_came_while_nothing_was_settled_is_one_answer() -> None:
    state = MeshState(TRUST_DOMAIN)
    pipeline = Pipeline(
        state,
        Publisher(state, Renderer()),
        ResourceCache(),
        pace=Pace(0.0, 0.0),
        clock=asyncio.get_running_loop().time,
    )
    answers = AnswersToWrites(pipeline)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(answers.run())
            for number in range(1, WRITES + 1):  # nobody publishes yet
                before, changes = pipeline.state, pipeline.receive(timeout(number))
                answers.changed(before, pipeline.state, changes)
                await asyncio.sleep(0)
            publishing = group.create_task(pipeline.run())
            async with asyncio.timeout(10):
                while not logs:  # noqa: ASYNC110 (a log has no event to wait for)
                    await asyncio.sleep(0.01)
            running.cancel()
            publishing.cancel()
    assert [each["documents"] for each in logs] == [["TimeoutPolicy default/t"]]
    assert logs[0]["services"] == 1


async def test_an_effect_that_cannot_be_told_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that no document can cause."""
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fails(*_: object) -> None:
        loop.call_soon_threadsafe(failed.set)
        raise RuntimeError("nobody foresaw this")

    state = MeshState(TRUST_DOMAIN)
    pipeline = Pipeline(
        state, Publisher(state, Renderer()), ResourceCache(), pace=Pace(0.0, 0.0), clock=loop.time
    )
    answers = AnswersToWrites(pipeline)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answers.run()), group.create_task(pipeline.run())]
            async with asyncio.timeout(10):
                monkeypatch.setattr(answers_to_writes, "effect", fails)
                before, changes = pipeline.state, pipeline.receive(timeout(1))
                answers.changed(before, pipeline.state, changes)
                await failed.wait()
                monkeypatch.undo()
                before, changes = pipeline.state, pipeline.receive(timeout(2))
                answers.changed(before, pipeline.state, changes)
                while len(logs) < 2:  # noqa: ASYNC110 (as above)
                    await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
    assert [each["event"] for each in logs] == [
        "the effect of what was written cannot be told",
        "documents applied",
    ]


async def test_who_spoke_plaintext_is_asked_where_policies_of_tls_change() -> None:
    state, asked = MeshState(TRUST_DOMAIN), list[int]()
    pipeline = Pipeline(
        state,
        Publisher(state, Renderer()),
        ResourceCache(),
        pace=Pace(0.0, 0.0),
        clock=asyncio.get_running_loop().time,
    )

    def lately() -> Callable[[], Lately]:
        asked.append(len(logs))
        return dict

    answers = AnswersToWrites(pipeline, lately)
    strict = (
        "apiVersion: meshwright.dev/v1alpha1\nkind: MeshTLS\nmetadata: {name: t}\n"
        "spec: {targetRefs: [{kind: Mesh}], mode: strict}\n"
    )
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answers.run()), group.create_task(pipeline.run())]
            events: tuple[Event, ...] = timeout(1), SourceUpdate("test", declared=declared(strict))
            for number, event in enumerate(events):
                before, changes = pipeline.state, pipeline.receive(event)
                answers.changed(before, pipeline.state, changes)
                async with asyncio.timeout(10):
                    while len(logs) <= number:  # noqa: ASYNC110 (a log has no event to wait for)
                        await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
    assert asked == [1], "after the first answer"
