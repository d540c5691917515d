from __future__ import annotations

from ca.recent import Recent


def test_what_was_not_used_for_the_longest_is_forgotten() -> None:
    recent: Recent[str, list[int]] = Recent(2)
    first = recent.use("a", list)
    recent.use("b", list)
    assert recent.use("a", list) is first
    recent.put("c", [3])
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (first, None, [3])


def test_to_look_is_not_to_use() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert recent.get("a") is None
