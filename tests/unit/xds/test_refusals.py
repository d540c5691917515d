"""Who is to blame for a NACK, by what its message says."""

from __future__ import annotations

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from xds.refusals import named, parts

NAMES = ("api", "api-2", "default/api:80", "default/api:8080", "a name with spaces")


def test_a_name_is_found_as_a_whole_word_alone() -> None:
    assert named(NAMES, "Error adding/updating cluster(s) default/api:8080: no good") == ["default/api:8080"]
    assert named(NAMES, "api: unknown filter") == ["api"]
    assert named(NAMES, "listener 'api-2'.") == ["api-2"]
    assert named(NAMES, "in api.default") == []
    assert named(NAMES, "in `a name with spaces` there is") == ["a name with spaces"]
    assert named(NAMES, "") == []


def plainly(names: list[str], message: str) -> list[str]:
    """The rule itself, name by name."""
    rule = r"(?<![\w.:/|-]){}(?![\w/|-]|[.:]\w)"
    return [name for name in names if name and re.search(rule.format(re.escape(name)), message)]


TEXT = st.text(alphabet="ab.:/-, '*", max_size=14)


@given(names=st.lists(TEXT, max_size=4), message=TEXT)
def test_it_is_found_wherever_the_rule_finds_it(names: list[str], message: str) -> None:
    assert named(names, message) == plainly(names, message)


def test_a_message_of_megabytes_stops_nobody() -> None:
    names = tuple(f"default/svc-{number}:80" for number in range(3500))
    began = time.monotonic()
    for message in ("x" * 4_000_000, "." * 4_000_000, "default/svc-1:800 " * 200_000, ".ab:" * 900_000):
        parts(names, message)
    assert time.monotonic() - began < 1  # it was 47 s for the first alone


def test_the_end_of_a_long_message_counts() -> None:
    assert named(("api", "web"), "x " * 1_000_000 + "'web' is no good") == ["web"]
