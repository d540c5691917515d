"""What requests may hold at once is bounded, and given back."""

from __future__ import annotations

import contextlib

import pytest

from api.errors import TooManyRequests
from api.roles import Caller, Way
from api.streams import Room, Streams


def test_streams_are_bounded_for_each_and_in_all() -> None:
    streams = Streams(in_all=3, of_one=2)
    one, other = (Caller(name, Way.TOKEN, "") for name in ("one", "other"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(streams.one_more(one))
        stack.enter_context(streams.one_more(one))
        with pytest.raises(TooManyRequests, match="one has 2 streams open"):
            stack.enter_context(streams.one_more(one))
        stack.enter_context(streams.one_more(other))
        with pytest.raises(TooManyRequests):
            stack.enter_context(streams.one_more(other))
    assert not streams.open
    with streams.one_more(one):
        pass


def test_bodies_are_bounded_together() -> None:
    room = Room(size=10)
    with room.taken(6):
        with room.taken(4), pytest.raises(TooManyRequests), room.taken(1):
            raise AssertionError
        with room.taken(4):
            pass
    assert room.used == 0
