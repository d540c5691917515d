"""AccessPolicy on TCP ports."""

from __future__ import annotations

import contextlib

from tests.support.access_cases import document
from tests.support.traffic.draining import applied_to_all
from tests.support.traffic.world import Traffic

TO_TCP = "kind: Service, name: tcp"


async def connected(traffic: Traffic, place: str = "tcp/echo") -> bool:
    with contextlib.suppress(OSError, EOFError):
        async with traffic.tcp(place) as connection:
            if place == "tcp/greet":
                assert (await connection.read()).startswith("hello")
            return str(await connection.ask("ping")).endswith("ping")
    return False


async def test_tcp(traffic: Traffic) -> None:
    dialer = "from: [{service: dialer}]"
    for said, echo, greet in (
        ("action: allow, rules: [{from: [{service: web}]}]", False, False),
        (f"action: allow, rules: [{{{dialer}}}]", True, True),
        (f"action: allow, rules: [{{{dialer}, to: [{{ports: [7000]}}]}}]", True, False),
        (f"action: deny, rules: [{{{dialer}, to: [{{ports: [greet]}}]}}]", True, False),
        # What asks for requests surely holds for no connection, and perhaps for each.
        ("action: allow, rules: [{to: [{methods: [GET]}]}]", False, False),
        ("action: deny, rules: [{to: [{paths: [/x], ports: [7000]}]}]", False, True),
        ("action: deny, rules: [{from: [{service: web}], to: [{paths: [/x]}]}]", True, True),
        (f"action: deny, dryRun: true, rules: [{{{dialer}}}]", True, True),
        ("default: deny", False, False),
    ):
        async with traffic.apply(document("tcp", said, TO_TCP)):
            found = await connected(traffic), await connected(traffic, "tcp/greet")
            assert found == (echo, greet), said


async def test_who_is_refused_by_a_server_that_speaks_first_is_heard_no_more(traffic: Traffic) -> None:
    """Envoy looks at a connection when its first byte comes: what such a server says before, everybody of the mesh may read."""
    async with (
        applied_to_all(traffic, document("tcp", "default: deny", TO_TCP)),
        traffic.tcp("tcp/greet") as held,
    ):
        assert (await held.read()).startswith("hello from")
        with contextlib.suppress(OSError, EOFError):
            assert await held.ask("let me in") == ""
        assert traffic.seen("tcp") == []
