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


def test_bodies_are_bounded_for_each_and_together() -> None:
    room = Room(size=10, of_one=6)
    one, other, third = (Caller(name, Way.TOKEN, "") for name in ("one", "other", "third"))
    with room.taken(one, 6):
        with pytest.raises(TooManyRequests, match="of one is read"), room.taken(one, 1):
            raise AssertionError
        # What one holds is not all there is.
        with room.taken(other, 4), pytest.raises(TooManyRequests), room.taken(third, 1):
            raise AssertionError
        with room.taken(other, 4), room.taken(third, 0):
            pass
    assert not room.used
