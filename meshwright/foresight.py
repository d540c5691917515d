"""What a write to the store would do to the mesh as it is now: what `api.writing` tells whoever writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from api.shapes.documents import Warned, WriteEffects
from api.writing import Foreseen
from envoy.render import Renderer
from mesh.events import DocumentName, SourceUpdate
from mesh.state import MeshState
from policies.effects import effect
from policies.transport import Lately
from policies.weave import Weaver


@dataclass(frozen=True, slots=True)
class Foresight:
    """`api.writing.Foresight`. `lately`: who spoke plaintext lately, captured on the event loop and reckoned in a thread."""

    state: Callable[[], MeshState]
    lately: Callable[[], Callable[[], Lately]]
    # Its own: it works in a thread, beside those that render what is sent.
    weaver: Weaver = field(default_factory=Weaver)
    renderer: Renderer = field(default_factory=lambda: Renderer(cache_bytes=4 * 1024 * 1024))

    def __call__(self) -> Callable[[SourceUpdate], Foreseen]:
        state, lately = self.state(), self.lately()
        return lambda event: self._foreseen(state, event, lately())

    def _foreseen(self, state: MeshState, event: SourceUpdate, lately: Lately) -> Foreseen:
        after, changes = state.apply(event)
        told = effect(state, after, changes, self.weaver, self.renderer, lately)
        known = frozenset(state.conflicts())
        warnings = (
            *(_warned(name, text) for name, text in (*told.warnings, *told.news, *told.notes)),
            *(Warned(document="", warning=line) for line in after.conflicts() if line not in known),
        )
        effects = WriteEffects(
            proxies=told.proxies, services=told.services, resources=told.resources, about=told.about
        )
        return Foreseen(effects, warnings)


def _warned(name: DocumentName, text: str) -> Warned:
    kind, key = name
    return Warned(document=f"{kind} {key}", warning=text)
