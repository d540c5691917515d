"""`--wait`: until every proxy has acknowledged a revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.commands.options import duration

if TYPE_CHECKING:
    from meshwright.api_client import Api


async def acknowledged(api: Api, revision: int, within: str) -> None:
    """Say so on standard error when all have. LateError names who has not, and why; RefusedError who refuses."""
    raise NotImplementedError(f"{api} {revision} {duration(within)}")
