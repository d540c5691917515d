"""`--wait` after a write that landed never ends as if the write had been refused."""

from __future__ import annotations

from typing import Any, cast

import pytest

from meshwright.commands.waiting import acknowledged
from meshwright.errors import ExitCode, ForbiddenError, LateError


class _Forbidding:
    """An older control plane, which lets nobody wait who may not view all namespaces."""

    async def send(self, *_: Any, **__: Any) -> Any:
        raise ForbiddenError("token:ci is not viewer in all namespaces")


async def test_who_may_not_see_is_told_that_it_is_written() -> None:
    with pytest.raises(LateError, match="revision 18 is written; who has it is not yours to see") as told:
        await acknowledged(cast("Any", _Forbidding()), 18, "1s")
    assert told.value.exit_code is ExitCode.LATE
