"""What a change of routes and policies did, told in the log when it is in force. The reckoning waits for the publishing, and leaves the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from envoy.render import Renderer
from mesh.events import Changes
from mesh.state import MeshState
from meshwright.pipeline import Pipeline
from policies import transport
from policies.effects import Effect, effect
from policies.transport import Lately
from policies.weave import Weaver

log = structlog.get_logger(__name__)
SHOWN = 20
"""Documents and notes that one line of the log names."""


class AnswersToWrites:
    """Told of each event's states before and after; `run` does the rest.

    However many come before one is reckoned, they are one: from the state before the first to that after the last.
    """

    def __init__(self, pipeline: Pipeline, lately: Callable[[], Callable[[], Lately]] = lambda: dict) -> None:
        """`lately`: who spoke plaintext to whom within the last hour, to be reckoned in a thread; asked for where policies of TLS change."""
        self._lately = lately
        self._pipeline = pipeline
        self._todo: tuple[MeshState, MeshState, Changes] | None = None
        self._woken = asyncio.Event()
        # Its own, for it works in a thread beside those that render what is sent.
        self._weaver, self._renderer = Weaver(), Renderer(cache_bytes=4 * 1024 * 1024)

    def changed(self, old: MeshState, new: MeshState, changes: Changes) -> None:
        if old.declared is new.declared:
            return
        if self._todo is not None:
            first, _, before = self._todo
            old, changes = first, before | changes
        self._todo = old, new, changes
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            await self._pipeline.settled()
            self._woken.clear()
            todo, self._todo = self._todo, None
            if todo is None:
                continue
            try:
                lately = self._lately() if transport.changed(todo[0], todo[1]) else dict
                told = await asyncio.to_thread(self._effect, *todo, lately)
            except Exception:
                log.exception("the effect of what was written cannot be told")
                continue
            if told.documents:
                log.info(
                    "documents applied",
                    documents=[f"{kind} {key}" for kind, key in told.documents[:SHOWN]],
                    of=len(told.documents),
                    proxies=told.proxies,
                    services=told.services,
                    resources=told.resources,
                    reckoned=told.about,
                )
            for (kind, key), note in told.notes[:SHOWN]:
                log.warning("no effect", document=f"{kind} {key}", note=note)
            for (kind, key), text in told.news[:SHOWN]:
                log.info("what changes for callers", document=f"{kind} {key}", news=text)
            for (kind, key), warning in told.warnings[:SHOWN]:
                log.warning("callers are refused", document=f"{kind} {key}", warning=warning)

    def _effect(
        self, old: MeshState, new: MeshState, changes: Changes, lately: Callable[[], Lately]
    ) -> Effect:
        return effect(old, new, changes, self._weaver, self._renderer, lately())
