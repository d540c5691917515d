"""What is wrong with a question is said in words of the command line."""

from __future__ import annotations

import pytest

from meshwright.commands.explain import _asked
from meshwright.errors import UsageError


@pytest.mark.parametrize(
    ("method", "said", "words"),
    [
        ("/orders", {}, "'/orders' is no method: .* GET /orders"),
        ("GET", {"localPort": 0}, "--local-port: "),
        ("GET", {"from": "WEB"}, "--from: "),
    ],
    ids=["a path in its place", "a port", "a name"],
)
def test_what_is_wrong_is_said_in_words_of_the_command_line(
    method: str, said: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        _asked(method=method, path="/", headers=(), claims="", said=said)
