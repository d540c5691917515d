"""What a write to the store would do to the mesh as it is now: what `api.writing` tells whoever writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from api.shapes.documents import Warned, WriteEffects
from api.writing import Foreseen
from envoy.render import Renderer
from mesh.events import DocumentName, SourceUpdate
from mesh.state import MeshState
from policies.access_nobody import Present, nobody
from policies.effects import effect
from policies.notes import route_notes
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
            *_from_nobody(after, told.documents),
            *_to_nothing(state, after, told.documents),
            *(Warned(document="", warning=line) for line in after.conflicts() if line not in known),
        )
        effects = WriteEffects(
            proxies=told.proxies, services=told.services, resources=told.resources, about=told.about
        )
        return Foreseen(effects, warnings)


def _from_nobody(after: MeshState, written: Iterable[DocumentName]) -> Iterator[Warned]:
    """Callers that access policies name, of those that are written, and that nobody is."""
    found = [after.policies.policies.get(name) for name in written if name[0] == "AccessPolicy"]
    present = Present.of(after) if any(found) else None
    for policy in found:
        if policy is not None and present is not None:
            yield from (_warned(policy.name, text) for text in nobody(after, present, policy))


def _to_nothing(before: MeshState, after: MeshState, written: Iterable[DocumentName]) -> Iterator[Warned]:
    """Conditions of routes that are not met: of those that are written, and of others where that is news, as `plan` says it."""
    found = list(route_notes(after))
    if not found:  # As a rule: then nobody looks at what was before.
        return
    names, known = tuple(f"{kind} {key}:" for kind, key in written), set(route_notes(before))
    for line in found:
        if line not in known or line.startswith(names):
            document, _, text = line.partition(": ")
            yield Warned(document=document, warning=text)


def _warned(name: DocumentName, text: str) -> Warned:
    kind, key = name
    return Warned(document=f"{kind} {key}", warning=text)
