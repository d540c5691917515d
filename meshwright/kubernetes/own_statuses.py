"""The statuses of objects of our own kinds: whether they are in force, what of them has no effect, and who has acknowledged them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from documents.envelope import API_VERSION
from documents.kinds import SERVICE, WORKLOAD
from mesh.addresses import reserved_to, taken
from mesh.events import DocumentName
from mesh.state import MeshState
from meshwright.document_status import origin
from meshwright.kubernetes.conditions import Wished, conditions
from meshwright.kubernetes.programming import Programming
from meshwright.quarantine.book import Told
from meshwright.quarantine.telling import sentence
from policies.effects import Merges
from policies.notes import notes_of
from store.kubernetes_held import Held
from store.kubernetes_objects import ClusterObject
from store.kubernetes_sets import SOURCE
from store.sets import file_of
from store.stored import Name

PATIENCE: Final = 5.0
"""Seconds in which proxies may answer before an object is said not to be programmed: most do in some milliseconds, and one write will do."""
SHOWN: Final = 5
"""Proxies that a message names."""
ACKNOWLEDGED: Final = "all proxies that are connected to the leading replica have acknowledged it"
"""Of those of other replicas nothing is known here. Which one leads is not said: with each that follows, all objects would be written anew."""


class OwnStatuses:
    """A `meshwright.kubernetes.statuses.StatusSource`. `quarantined` and `rolling`: as `api.showing` asks for them; `moves`
    is another value when these may be. `wall` tells the time.
    """

    def __init__(
        self,
        programming: Programming,
        *,
        quarantined: Callable[[DocumentName], Iterable[Told]],
        rolling: Callable[[DocumentName], str | None],
        wall: Callable[[], datetime],
        moves: Callable[[], object] = tuple,
    ) -> None:
        self._programming = programming
        self._quarantined = quarantined
        self._rolling = rolling
        self._wall = wall
        self._moves = moves
        self._waiting = False

    def goes_by(self, state: MeshState) -> tuple[object, ...]:
        """Of workloads it says who has the labels of a subset, and the like: that may wait."""
        return state.declared, state.services, state.routing, state.policies

    def moves(self) -> object:
        return self._programming.moves, self._moves()

    @property
    def waiting(self) -> bool:
        return self._waiting

    def __call__(self, state: MeshState, held: Held) -> Iterable[tuple[ClusterObject, dict[str, Any]]]:
        own = [found for found in held.objects.values() if found.api_version == API_VERSION]
        rolling = {found.name: said for found in own if (said := self._rolling(found.name))}
        return self._statuses(state, held, own, rolling, self._wall().strftime("%Y-%m-%dT%H:%M:%SZ"))

    def _statuses(
        self,
        state: MeshState,
        held: Held,
        own: Iterable[ClusterObject],
        rolling: Mapping[Name, str],
        now: str,
    ) -> Iterator[tuple[ClusterObject, dict[str, Any]]]:
        """For a thread: who has acknowledged, and what is set aside, may be asked there."""
        merges: Merges = {}
        self._waiting = False
        for found in own:
            wished = self._wished(state, held, found.name, rolling, merges)
            if wished is None:
                self._waiting = True
                continue
            before = found.status.get("conditions")
            yield (
                found,
                {
                    "observedGeneration": found.generation,
                    "conditions": conditions(wished, before, found.generation, now),
                },
            )

    def _wished(
        self, state: MeshState, held: Held, name: Name, rolling: Mapping[Name, str], merges: Merges
    ) -> tuple[Wished, Wished] | None:
        """None: it will be known in a moment."""
        refusal = held.refusal(name)
        if refusal:
            kept = " (what it said before is in force)" if _is_in_force(state, name) else ""
            reason = "Invalid" if held.is_permitted(name) else "NotPermitted"
            return (
                Wished("Accepted", False, reason, refusal + kept),
                Wished("Programmed", False, reason, "it is not accepted"),
            )
        if not _is_in_force(state, name):
            if self._programming.behind(name) is not None and self._programming.waited(name) < PATIENCE:
                return None
            others = origin(state, name)
            why = f"{others[0]} is in force in its place" if others else "it is not in force yet"
            return (
                Wished("Accepted", False, "Conflicted" if others else "Pending", why),
                Wished("Programmed", False, "Pending", "it is not in force"),
            )
        programmed = self._programmed(name, rolling)
        return None if programmed is None else (self._accepted(state, held, name, merges), programmed)

    def _accepted(self, state: MeshState, held: Held, name: Name, merges: Merges) -> Wished:
        if without := _taken(state, name):
            return Wished("Accepted", False, "Conflicted", without)
        file = held.documents.files.get(file_of(name))
        said = [
            *(f"{each.where.path}: {each.reason}" for each in (file.cautions if file is not None else ())),
            *notes_of(state, state.declared.get(name), merges),
            *_unserved(state, name),
        ]
        if said:
            return Wished("Accepted", True, "PartlyWithoutEffect", "; ".join(said))
        return Wished("Accepted", True, "Accepted", "it is in force")

    def _programmed(self, name: Name, rolling: Mapping[Name, str]) -> Wished | None:
        if aside := tuple(self._quarantined(name)):
            return Wished("Programmed", False, "Refused", "; ".join(map(sentence, aside)))
        if on_its_way := rolling.get(name):
            return Wished("Programmed", False, "RollingOut", on_its_way)
        behind = self._programming.behind(name)
        if behind is None:
            return Wished("Programmed", True, "Programmed", ACKNOWLEDGED)
        if self._programming.waited(name) < PATIENCE:
            return None
        more = f" and {len(behind) - SHOWN} more" if len(behind) > SHOWN else ""
        who = f"{', '.join(behind[:SHOWN])}{more}" or "some proxies"
        return Wished("Programmed", False, "Pending", f"not acknowledged yet by {who}")


def _taken(state: MeshState, name: Name) -> str:
    """Why a service has not the address that it claims, for its cluster has given it to another; empty: it has it."""
    service = state.services.get(name[1]) if name[0] in {SERVICE.name, "ExternalService"} else None
    if service is None:
        return ""
    holder = reserved_to(state, service.virtual_address, name[1])
    return "" if holder is None else f"spec.address: {taken(service.virtual_address, holder)}"


def _unserved(state: MeshState, name: Name) -> Iterator[str]:
    """Services of a workload that nobody declares, here or in the core group."""
    workload = state.workloads.get(name[1]) if name[0] == WORKLOAD.name else None
    for place, key in enumerate(workload.services if workload is not None else ()):
        if key not in state.services:
            yield f"spec.services[{place}]: there is no service {key} (yet)"


def _is_in_force(state: MeshState, name: Name) -> bool:
    """As this source has it: where several sources declare one service, the first of them has it."""
    return any(each.startswith(f"{SOURCE}#") for each in origin(state, name))
