from __future__ import annotations

from store.kubernetes_failures import PACE, Failures

KINDS = ("AccessPolicy", "MeshTLS", "RetryPolicy")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_kind_says_its_own_reason_and_its_recovery_is_told_at_once() -> None:
    failures = Failures(Clock())
    assert failures.tell() == ""
    failures.put("RetryPolicy", "403: retrypolicies")
    assert failures.tell() == "403: retrypolicies"
    failures.drop("RetryPolicy")
    assert failures.tell() == ""


def test_many_kinds_that_break_one_by_one_are_told_twice() -> None:
    clock = Clock()
    failures = Failures(clock)
    told = set()
    for kind in KINDS:
        failures.put(kind, f"403: {kind}")
        told.add(failures.tell())
        clock.now += 0.1
    assert told == {"403: AccessPolicy"}
    assert failures.pause is not None
    clock.now += failures.pause
    assert failures.tell() == "403: AccessPolicy; nor can MeshTLS, RetryPolicy be read"
    assert failures.pause is None


def test_what_fails_with_another_reason_is_told_after_a_while() -> None:
    """A connection that broke cannot be made again: the reason changes with each try, and it is one trouble."""
    clock = Clock()
    failures = Failures(clock)
    failures.put("RetryPolicy", "broke")
    failures.tell()
    failures.put("RetryPolicy", "refused")
    assert failures.tell() == "broke"
    clock.now += PACE
    assert failures.tell() == "refused"


def test_however_many_fail_the_text_stays_short() -> None:
    failures = Failures(Clock())
    for number in range(40):
        failures.put(f"Kind{number:02}", f"no {number}" * 20)
    assert failures.text.endswith("; nor can 39 other kinds be read")
    assert len(failures.text) < 200


def test_after_a_fresh_start_the_same_is_told_again() -> None:
    failures = Failures(Clock())
    failures.put("RetryPolicy", "no")
    failures.tell()
    failures.clear()
    assert failures.tell() == ""
    failures.put("RetryPolicy", "no")
    assert failures.tell() == "no"
