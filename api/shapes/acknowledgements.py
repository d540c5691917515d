"""Who has acknowledged a revision, and who has not, and why."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.shapes.shape import Query, Shape

PATIENCE = 300
"""Seconds that a request may wait at most; whoever wants to wait longer asks again."""


class AcknowledgementsQuery(Query):
    timeout: float = Field(
        default=0,
        ge=0,
        le=PATIENCE,
        description="Seconds to wait for every proxy to acknowledge it, or for it to be told that it will not.",
    )


class Behind(Shape):
    """A proxy that has not answered for what a revision means for it. `pending`: some of the names that it has not acknowledged, by type."""

    proxy: str
    replica: str
    peer: str
    pending: dict[str, tuple[str, ...]]
    why: str


class Refusing(Shape):
    """A proxy that refused resources, in Envoy's words, and the documents that they lead to. `seconds`: how long ago."""

    proxy: str
    replica: str
    type: str
    names: tuple[str, ...]
    message: str
    documents: tuple[str, ...]
    seconds: float


class Acknowledgements(Shape):
    """`state`: pending (a control plane has not taken the revision yet), waiting (for those `behind`), refused (by those `refused`, nobody
    else is waited for), or acknowledged. `proxies`: those that are connected. `took`: seconds from when the revision was taken to
    the last answer, where that is known. `quarantined`: documents of which an older value is in force, for Envoy refuses the new one.
    `silent`: replicas that have not taken the revision, or have not said so. `unseen`: how many of those that are behind or refuse are not listed, for they are of namespaces that whoever asks may
    not view. `replica`: whose answer it is; empty: that of all.
    """

    revision: int
    state: Literal["pending", "waiting", "refused", "acknowledged"]
    proxies: int
    behind: tuple[Behind, ...]
    refused: tuple[Refusing, ...]
    quarantined: tuple[str, ...] = ()
    took: float | None = None
    replicas: int = 1
    silent: tuple[str, ...] = ()
    unseen: int = 0
    replica: str = ""
