from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from mesh.state import MeshState
from meshwright.errors import SettingsError
from meshwright.metrics import Metrics
from meshwright.rate_limit_gate import RateLimitGate
from meshwright.rate_limits import CarriedLimits, LimitObserver, rate_limits
from ratelimit.limits import Limit, Unit
from ratelimit.service import Failure


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("100/minute", Limit(100, Unit.MINUTE)),
        ("0/second", Limit(0, Unit.SECOND)),
        ("100/fortnight", None),
        ("many/minute", None),
        ("-1/minute", None),
        ("100", None),
        ("", None),
    ],
)
def test_a_limit_is_read_from_the_descriptor(said: str, limit: Limit | None) -> None:
    assert CarriedLimits().find("mesh", [("policy", "default/p"), ("limit", said)]) == limit


def test_without_one_the_rules_hold() -> None:
    rules = CarriedLimits({("mesh", (("policy", None),)): Limit(3, Unit.DAY)})
    assert rules.find("mesh", [("policy", "default/p")]) == Limit(3, Unit.DAY)
    assert rules.find("mesh", [("other", "x")]) is None


def test_what_is_not_counted_is_metered_and_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    metrics = Metrics(CollectorRegistry())
    observer = LimitObserver(metrics, lambda: now[0])
    for at in (0.0, 1.0, 9.0, 10.0):
        now[0] = at
        observer.blind("mesh", Failure.PROXY, "Redis is away")
    observer.answered("mesh", over=True)
    observer.answered("mesh", over=False)
    counted = {
        answer: metrics.registry.get_sample_value("meshwright_ratelimit_requests_total", {"answer": answer})
        for answer in ("ok", "over", "not-counted")
    }
    assert counted == {"ok": 1, "over": 1, "not-counted": 4}
    assert capsys.readouterr().out.count("Redis is away") == 2


async def test_an_address_without_sense_is_a_wrong_setting_and_not_repeated() -> None:
    gate = RateLimitGate(lambda: MeshState("mesh.local"))
    with pytest.raises(SettingsError, match=r"--ratelimit-redis.*redis://") as caught:
        async with rate_limits("http://:secret@host", Metrics(CollectorRegistry()), lambda: 0.0, gate):
            pytest.fail("it was taken")
    assert "secret" not in str(caught.value)
