"""Join tokens and API tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.shapes.documents import Label
from api.shapes.shape import Shape

DAY = 86_400
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]*$")]


class JoinTokenWish(Shape):
    """A token with which a proxy joins as a workload of a service account."""

    namespace: Label = "default"
    service_account: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._-]+$")]
    workload: Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")] | None = Field(
        default=None, description="This one alone; any of the service account if left out."
    )
    life: int = Field(default=3600, ge=1, le=365 * DAY, description="Seconds that it is good for.")
    uses: int = Field(default=1, ge=1, le=1_000_000, description="How many workloads may join with it.")


class JoinTokenShown(Shape):
    id: str
    namespace: str
    service_account: str
    workload: str | None
    created: datetime
    expires: datetime
    uses: int
    used: int


class JoinTokenMade(JoinTokenShown):
    """`token` is shown this once."""

    token: str


class JoinTokens(Shape):
    """`damaged`: files that are no tokens, and the way out."""

    items: tuple[JoinTokenShown, ...]
    damaged: tuple[str, ...]


class ApiTokenWish(Shape):
    """A token for this API."""

    name: Name = Field(
        description="Whose it is, or what for: the history and the audit log call its bearer so."
    )
    role: Literal["viewer", "editor", "admin"]
    namespaces: tuple[Label, ...] | None = Field(
        default=None, min_length=1, max_length=100, description="Where; everywhere if left out."
    )
    life: int = Field(default=90 * DAY, ge=1, le=3650 * DAY, description="Seconds that it is good for.")


class ApiTokenShown(Shape):
    id: str
    name: str
    role: str
    namespaces: tuple[str, ...] | None
    created: datetime
    expires: datetime
    created_by: str


class ApiTokenMade(ApiTokenShown):
    """`token` is shown this once."""

    token: str


class ApiTokenList(Shape):
    """`damaged`: files that are no tokens, and the way out."""

    items: tuple[ApiTokenShown, ...]
    damaged: tuple[str, ...]


class Revoked(Shape):
    id: str
