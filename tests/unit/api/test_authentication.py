"""Who was let in is looked at again for as long as they are answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from api.authentication import Authentication
from api.errors import Unauthenticated
from api.roles import Caller, Role, Way
from api.tokens import ApiTokens

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def test_a_token_is_good_until_it_expires_or_is_revoked(tmp_path: Path) -> None:
    tokens, now = ApiTokens.open(tmp_path), [NOW]
    authentication = Authentication(tokens, {}, lambda: now[0], lambda: 0.0)
    text, made = tokens.create("ci", Role.VIEWER, None, HOUR, now=NOW, by="uid:0")
    request = make_mocked_request("GET", "/", headers={"Authorization": f"Bearer {text}"})
    caller = await authentication.caller(request, public=False)
    authentication.again(request, caller)
    with pytest.raises(Unauthenticated, match="token:other"):
        authentication.again(request, Caller("token:other", Way.TOKEN, caller.peer, caller.grants))
    now[0] += HOUR
    with pytest.raises(Unauthenticated, match="expired"):
        authentication.again(request, caller)
    now[0] = NOW
    tokens.revoke(made.id)
    with pytest.raises(Unauthenticated, match="unknown"):
        authentication.again(request, caller)
