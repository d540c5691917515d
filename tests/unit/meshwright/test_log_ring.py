"""The last lines of the log: bounded, and of any thread."""

from __future__ import annotations

from typing import Any

from meshwright.log_ring import LogRing


def logged(ring: LogRing, **event: Any) -> None:
    made = {"event": "served", "level": "info", "timestamp": "2026-01-02T03:04:05Z", **event}
    assert ring(None, "info", made) is made


def test_the_newest_are_kept_the_oldest_first() -> None:
    ring = LogRing(size=3)
    for number in range(5):
        logged(ring, event=f"line {number}")
    assert [each.event for each in ring.lines(10)] == ["line 2", "line 3", "line 4"]
    assert [each.event for each in ring.lines(2)] == ["line 3", "line 4"]
    assert ring.last == 5


def test_who_follows_asks_for_what_came_after() -> None:
    ring = LogRing()
    logged(ring)
    last = ring.last
    assert ring.lines(10, after=last) == []
    logged(ring, event="later")
    assert [each.event for each in ring.lines(10, after=last)] == ["later"]


def test_by_level() -> None:
    ring = LogRing()
    for level in ("debug", "info", "warning", "error", "critical"):
        logged(ring, level=level)
    assert [each.level for each in ring.lines(10, level="warning")] == ["warning", "error", "critical"]


def test_fields_are_plain_and_bounded() -> None:
    ring = LogRing()
    logged(ring, workload=object(), long="x" * 10_000, several=["a", 1, None], number=2.5, yes=True)
    (line,) = ring.lines(1)
    assert line.fields["workload"].startswith("<object object")
    assert len(line.fields["long"]) == 2_000
    assert (line.fields["several"], line.fields["number"], line.fields["yes"]) == (["a", 1, None], 2.5, True)


def test_an_error_is_told_by_its_kind_alone_since_its_words_may_hold_a_secret() -> None:
    ring = LogRing()
    try:
        int("hunter2")
    except ValueError:
        logged(ring, exc_info=True)
    assert ring.lines(1)[0].fields["exception"] == "ValueError"
