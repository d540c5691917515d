"""Which of several documents are guilty of a refused resource, by what an Envoy takes without them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from envoy.render import Rendered
from meshwright.editions import Member, Overlay
from meshwright.quarantine.cases import Case
from meshwright.quarantine.refused import About, Refused
from meshwright.quarantine.sketch import Sketcher, Untraceable
from meshwright.quarantine.suspects import Suspect
from meshwright.quarantine.trial import Neighbours


class Envoys(Protocol):
    """See `trial.Envoys`."""

    async def accepts(self, envoy: str, resource: Rendered, around: Neighbours) -> bool | None: ...


@dataclass(frozen=True, slots=True)
class Trial:
    """`accused`: for whom the refusing client was spared at once, if for any."""

    about: About
    refused: Refused
    member: Member
    suspects: tuple[Suspect, ...]
    accused: Case | None


async def guilty(trial: Trial, envoys: Envoys, sketcher: Sketcher, around: Neighbours) -> tuple[Suspect, ...]:
    """Those without whom an Envoy here takes the resource: one, where one is enough; none, if it takes it without none of them."""
    envoy = trial.member.envoy
    telling = [each for each in trial.suspects if not each.takes_all_away]
    for suspect in telling:
        if suspect.then is None or await envoys.accepts(envoy, suspect.then, around):
            return (suspect,)
    together: list[Suspect] = []
    for suspect in telling:
        together.append(suspect)
        if len(together) > 1 and await _accepts_without(trial, together, envoys, sketcher, around):
            break
    else:
        return ()
    for suspect in tuple(together[:-1]):
        less = [each for each in together if each is not suspect]
        if await _accepts_without(trial, less, envoys, sketcher, around):
            together = less
    return tuple(together)


async def _accepts_without(
    trial: Trial, some: Collection[Suspect], envoys: Envoys, sketcher: Sketcher, around: Neighbours
) -> bool:
    resource = trial.refused.resource
    overlay = Overlay.of({each.name: each.instead for each in some})
    try:
        then = sketcher.resource(trial.member.client, (resource.type_url, resource.name), overlay)
    except Untraceable:
        return False
    return then is None or bool(await envoys.accepts(trial.member.envoy, then, around))
