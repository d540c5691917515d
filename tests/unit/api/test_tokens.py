"""API tokens: what opens the door, what is kept, and what is left after a restart."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.roles import Role
from api.tokens import ApiTokens, NoSuchToken, TokenRefused

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_token_opens_the_door_until_it_ends(tmp_path: Path) -> None:
    tokens = ApiTokens.open(tmp_path)
    text, made = tokens.create("ci", Role.EDITOR, frozenset({"shop"}), HOUR, now=NOW, by="uid:0")
    caller = tokens.verify(text, NOW).caller("10.0.0.1")
    assert caller.name == "token:ci"
    assert caller.may(Role.EDITOR, "shop")
    assert not caller.may(Role.EDITOR, "other")
    assert not caller.may(Role.VIEWER)
    with pytest.raises(TokenRefused, match="expired"):
        tokens.verify(text, NOW + HOUR)
    again = ApiTokens.open(tmp_path)
    assert again.verify(text, NOW) == made
    tokens.revoke(made.id)
    for each in (tokens, ApiTokens.open(tmp_path)):
        with pytest.raises(TokenRefused, match="unknown"):
            each.verify(text, NOW)
    with pytest.raises(NoSuchToken):
        tokens.revoke(made.id)


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda text: text[:-1], lambda text: text[:-1] + "A" * 2, lambda _: "", lambda _: "mwa_"],
)
def test_nothing_else_does(tmp_path: Path, change: object) -> None:
    assert callable(change)
    tokens = ApiTokens.open(tmp_path)
    text, _ = tokens.create("ci", Role.ADMIN, None, HOUR, now=NOW, by="uid:0")
    with pytest.raises(TokenRefused) as told:
        tokens.verify(change(text), NOW)
    assert text.partition(".")[2] not in str(told.value)


def test_what_is_kept_is_private_and_has_no_secret(tmp_path: Path) -> None:
    tokens = ApiTokens.open(tmp_path)
    text, made = tokens.create("ci", Role.ADMIN, None, HOUR, now=NOW, by="uid:0")
    path = tmp_path / "api-tokens" / f"{made.id}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text.partition(".")[2] not in path.read_text() + repr(made)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"id": 1}'])
def test_a_damaged_file_is_told_and_opens_nothing(tmp_path: Path, content: str) -> None:
    ApiTokens.open(tmp_path)
    path = tmp_path / "api-tokens" / f"{'a' * 16}.json"
    path.touch(mode=0o600)
    path.write_text(content)
    tokens = ApiTokens.open(tmp_path)
    assert tokens.list() == ()
    assert str(path) in tokens.damaged[0]
