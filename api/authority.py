"""What can be asked of the authority."""

from __future__ import annotations

from typing import Protocol

from api.shapes.ca import CaStatus


class Commands(Protocol):
    """All but `status` raise CaError where it cannot be, OSError where the disk cannot be written."""

    def status(self) -> CaStatus: ...
    async def rotate(self, *, root: bool, by_hand: bool) -> CaStatus: ...
    async def abort(self) -> CaStatus: ...
    async def proceed(self) -> CaStatus: ...
    async def forget(self, workload: str, *, even_if_connected: bool = False) -> CaStatus: ...
