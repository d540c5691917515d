"""What the API is given by the program that it serves: the only way from here to there.

A subject that needs more adds a field here (a callable, or a Protocol of its own in a module beside its routes), and
`meshwright/api_backend.py` fills it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from api.authority import Commands
from api.looking import Logs
from api.rolling import Rolling
from api.shapes.acknowledgements import Acknowledgements
from api.shapes.analysis import Analysis
from api.shapes.explain import ExplainAnswer, ExplainRequest
from api.shapes.plan import PlanAnswer, PlanRequest
from api.shapes.quarantine import Quarantined
from api.shapes.status import Listing, PlaintextReport, Status
from api.showing import Conditions
from api.streams import Streams
from api.tokens import ApiTokens
from api.writing import Writer
from ca.times import Clock
from ca.tokens import TokenStore
from documents.sets import DocumentSet
from mesh.events import DocumentName
from mesh.names import Key
from store.repository import Repository

Told = str | int | float | None | list[str]
"""What a field of the audit log may be."""


class Record(Protocol):
    """Writes a line of the audit log. Neither blocks nor raises."""

    def __call__(self, event: str, fields: Mapping[str, Told]) -> None: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """`record` is for what was done; `record_refusal` for what was not, of which a flood by one teller (its first argument) is told in part.

    `repository` and `writer` are None where the control plane has no store. `files`: the documents that are read from elsewhere.
    """

    version: str
    record: Record
    record_refusal: Callable[[str, str, Mapping[str, Told]], None]
    repository: Repository | None
    writer: Writer | None
    files: Callable[[], DocumentSet]
    conditions: Conditions
    streams: Streams
    clock: Clock
    status: Callable[[], Status]
    listing: Callable[[], Listing]
    config_dump: Callable[[Key], Awaitable[str | None]]
    release: Callable[[Key | None], int]
    plaintext: Callable[[], Callable[[], PlaintextReport]]
    ca: Commands
    join_tokens: TokenStore
    api_tokens: ApiTokens
    plan: Callable[[PlanRequest, Callable[[str], bool]], Awaitable[PlanAnswer]]
    """The second says of a namespace whether who asked may see its proxies."""
    snapshot: Callable[[], Awaitable[bytes]]
    explain: Callable[[ExplainRequest], Awaitable[ExplainAnswer]]
    logs: Logs
    rollouts: Rolling
    quarantined: Callable[[], tuple[Quarantined, ...]]
    release_quarantined: Callable[[DocumentName], int]
    analyze: Callable[[tuple[str, ...], str], Awaitable[Analysis]]
    acknowledgements: Callable[[int, float], Awaitable[Acknowledgements]]
    unseen: Callable[[], str]
    """Why answers about proxies are not about all; empty where they are."""
