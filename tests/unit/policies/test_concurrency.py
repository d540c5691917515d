from __future__ import annotations

import pytest

from envoy.seams import NOTHING
from mesh.service import Protocol
from pb.envoy.extensions.filters.http.adaptive_concurrency.v3.adaptive_concurrency_pb2 import (
    AdaptiveConcurrency,
)
from pb.envoy.extensions.filters.http.admission_control.v3.admission_control_pb2 import AdmissionControl
from policies.concurrency import ADAPTIVE, ADMISSION, EXAMPLE, KIND
from tests.support.policy_documents import CALLEE, accepted, added, of, refusals


def configs(fields: str) -> dict[str, bytes]:
    return {each.name: each.config for each in added(KIND, fields).http_filters}


def test_an_empty_limit_has_the_defaults() -> None:
    made = configs("{adaptive: {}}")
    assert list(made) == [ADAPTIVE]
    gradient = AdaptiveConcurrency.FromString(made[ADAPTIVE]).gradient_controller_config
    assert gradient.concurrency_limit_params.max_concurrency_limit.value == 1000
    assert gradient.min_rtt_calc_params.interval.ToSeconds() == 60
    assert gradient.min_rtt_calc_params.min_concurrency.value == 3
    assert gradient.sample_aggregate_percentile.value == 50


def test_everything_may_be_said() -> None:
    adaptive = (
        "{maxRequests: 200, minRequests: 10, measureEvery: 30s, measuredRequests: 20, updateEvery: 1s, percentile: 90, "
        "tolerance: 50}"
    )
    gradient = AdaptiveConcurrency.FromString(
        configs(f"{{adaptive: {adaptive}}}")[ADAPTIVE]
    ).gradient_controller_config
    measured = gradient.min_rtt_calc_params
    assert (measured.request_count.value, measured.min_concurrency.value, measured.buffer.value) == (
        20,
        10,
        50,
    )
    assert gradient.concurrency_limit_params.concurrency_update_interval.ToSeconds() == 1


def test_admission() -> None:
    made = AdmissionControl.FromString(configs("{admission: {successPercent: 90, window: 10s}}")[ADMISSION])
    assert made.enabled.default_value.value
    assert (made.sr_threshold.default_value.value, made.sampling_window.ToSeconds()) == (90, 10)
    (good,) = made.success_criteria.http_criteria.http_success_status
    assert (good.start, good.end) == (100, 500)
    assert 14 not in made.success_criteria.grpc_criteria.grpc_success_status


def test_tcp_has_no_requests() -> None:
    assert added(KIND, "{adaptive: {}}", of(CALLEE, Protocol.TCP)) == NOTHING


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "adaptive: {minRequests: 50, maxRequests: 10}",
            "spec.adaptive.minRequests: 50 is more than the most, 10. Make minRequests smaller or maxRequests larger",
        ),
        (
            "adaptive: {maxRequests: 2}",
            "spec.adaptive.minRequests: 3 is more than the most, 2. Make minRequests smaller or maxRequests larger",
        ),
        (
            "adaptive: {measureEvery: soon}",
            "spec.adaptive.measureEvery: 'soon' is not a duration. Write it like 250ms, 5s or 1m30s",
        ),
        (
            "admission: {successPercent: 0.5}",
            "spec.admission.successPercent: below 1 percent nothing would ever be refused. Use a number from 1 to 100, or remove admission",
        ),
        (
            "admission: {window: 500ms}",
            "spec.admission.window: 500ms is shorter than a second. Use 1s or more",
        ),
        (
            "admission: {maxRejectedPercent: 110}",
            "spec.admission.maxRejectedPercent: 110 is too large. Use 100.0 or less",
        ),
        (
            "from: [{service: web}]",
            "spec.from: a Concurrency holds for all callers: it cannot tell them apart. Remove from",
        ),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("Concurrency", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
