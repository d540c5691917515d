"""From a refused resource to the documents without which it would be another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from envoy.render import Rendered
from mesh.events import DocumentName
from mesh.state import MeshState
from meshwright.editions import Instead, Member, Overlay
from meshwright.quarantine.book import Book
from meshwright.quarantine.cases import FOUNDATIONS
from meshwright.quarantine.sketch import Sketcher, Untraceable
from meshwright.revisions import documents_of, in_force, origin_of, revision_of
from xds.resource import Resource
from xds.types import ENDPOINT

LATEST = 8
"""Documents that changed last which are looked at though a resource does not say that they made it, where none that did has changed."""
MOST = 64
"""Documents of one resource that are looked at."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A document as the client sees it. `changed`: whether it has, since the control plane started, so that this may be why.

    `instead` would stand for it, and `then` would be the refused resource; None: there would be none. `replaceable`: whether that is what the
    client may be given; else it is for trying alone.
    """

    name: DocumentName
    revision: str
    origin: str
    changed: bool
    instead: Instead
    then: Rendered | None
    replaceable: bool

    @property
    def is_foundation(self) -> bool:
        return self.name[0] in FOUNDATIONS

    @property
    def takes_all_away(self) -> bool:
        """Whether there is nothing left to refuse without it, which says nothing of it."""
        return self.is_foundation and self.then is None


async def suspects(
    book: Book, sketcher: Sketcher, member: Member, state: MeshState, resource: Resource
) -> AsyncIterator[Suspect]:
    """Those that changed last come first, and foundations last of all. `state`: the mesh as the client sees it. Rests between two, for each costs a rendering."""
    name = resource.type_url, resource.name
    latest, found_one = tuple(book.history.latest()), False
    made = _made_by(state, resource, latest)
    others = [each for each in latest if each not in made][:LATEST]
    for document in (*made, *others):
        if found_one and document in others:
            return
        found = in_force(state, document)
        if found is None:
            continue
        source, value = found
        revision = revision_of(value)
        allowed = book.instead_of(document, revision, member, source)
        instead = allowed or Instead(source, None)
        await asyncio.sleep(0)
        try:
            then = sketcher.resource(member.client, name, Overlay.of({document: instead}))
        except Untraceable:
            continue
        if then is not None and then.body == resource.body:
            continue
        found_one = found_one or document in latest
        yield Suspect(
            document,
            revision,
            ", ".join(origin_of(value)),
            document in latest,
            instead,
            then,
            replaceable=allowed is not None,
        )


def _made_by(state: MeshState, resource: Resource, latest: tuple[DocumentName, ...]) -> list[DocumentName]:
    """Of the documents that made the resource, those that changed, the last first; then the others. Foundations after all of them."""
    made = [*documents_of(resource.origin)]
    if resource.type_url == ENDPOINT:
        services = [key for kind, key in made if kind == "Service"]
        made += [("Workload", member) for key in services for member in state.members.get(key, ())]
    when = {name: place for place, name in enumerate(latest)}
    return sorted(
        dict.fromkeys(made[:MOST]),
        key=lambda each: (each[0] in FOUNDATIONS, when.get(each, len(when))),
    )
