from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.durations import LONGEST, PATTERN, parse, show

DURATIONS = st.integers(0, int(LONGEST / timedelta(milliseconds=1))).map(
    lambda ms: timedelta(milliseconds=ms)
)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0h", timedelta()),
        ("0s", timedelta()),
        ("0h0m0s", timedelta()),
        ("1h", timedelta(hours=1)),
        ("30m", timedelta(minutes=30)),
        ("10s", timedelta(seconds=10)),
        ("500ms", timedelta(milliseconds=500)),
        ("2h30m", timedelta(hours=2, minutes=30)),
        ("150m", timedelta(hours=2, minutes=30)),
        ("7200s", timedelta(hours=2)),
        ("1h30m10s", timedelta(hours=1, minutes=30, seconds=10)),
        ("10s30m1h", timedelta(hours=1, minutes=30, seconds=10)),
        ("100ms200ms300ms", timedelta(milliseconds=600)),
        ("99999h", timedelta(hours=99_999)),
    ],
)
def test_the_examples_of_gep_2257(text: str, duration: timedelta) -> None:
    assert parse(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1m1",
        "1h30m10s20ms50h",
        "999999h",
        "1.5h",
        "-15m",
        "+15m",
        "1d",
        "1us",
        "1 s",
        "s",
        "1s\n",
        "١s",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(hours=1), "1h"),
        (timedelta(minutes=30), "30m"),
        (timedelta(hours=2, minutes=30), "2h30m"),
        (timedelta(hours=5, minutes=31, seconds=1, milliseconds=2), "5h31m1s2ms"),
        (LONGEST, "99999h59m59s999ms"),
    ],
)
def test_it_is_written_the_shortest_way(duration: timedelta, text: str) -> None:
    assert show(duration) == text


@pytest.mark.parametrize(
    "duration",
    [timedelta(microseconds=1), timedelta(seconds=-1), LONGEST + timedelta(milliseconds=1)],
)
def test_what_cannot_be_written(duration: timedelta) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        show(duration)


@given(DURATIONS)
def test_what_is_written_is_read_again(duration: timedelta) -> None:
    assert parse(show(duration)) == duration


@given(st.from_regex(PATTERN, fullmatch=True))
def test_whatever_fits_the_pattern_is_read(text: str) -> None:
    if text.isascii() and not text.endswith("\n"):
        assert re.fullmatch(r"([0-9]{1,5}(h|m|s|ms)){1,4}", text)
        assert parse(text) >= timedelta()
