from __future__ import annotations

from dataclasses import replace

import pytest

from envoy.seams import NOTHING
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from policies.outlier_detection import EXAMPLE, KIND
from tests.support.policy_documents import CALLER, accepted, added, refusals


def made(fields: str) -> OutlierDetection:
    return Cluster.FromString(added(KIND, fields, CALLER).cluster).outlier_detection


def test_by_default_five_failures_in_a_row_and_half_of_the_endpoints() -> None:
    found = made("{interval: 5s}")
    assert found.interval.ToSeconds() == 5
    assert (found.consecutive_5xx.value, found.enforcing_consecutive_5xx.value) == (5, 100)
    assert (found.base_ejection_time.ToSeconds(), found.max_ejection_time.ToSeconds()) == (30, 300)
    assert found.max_ejection_percent.value == 50
    assert found.always_eject_one_host.value


def test_shares_are_judged_only_when_asked_for() -> None:
    found = made("{}")
    assert found.HasField("enforcing_success_rate")
    assert found.enforcing_success_rate.value == found.enforcing_failure_percentage.value == 0
    found = made(
        "{successRate: {deviations: 2.5, minimumHosts: 3}, failurePercentage: {threshold: 40, requestVolume: 9}}"
    )
    assert (found.enforcing_success_rate.value, found.success_rate_stdev_factor.value) == (100, 2500)
    assert (found.success_rate_minimum_hosts.value, found.success_rate_request_volume.value) == (3, 100)
    assert found.enforcing_failure_percentage.value == 100
    assert (found.failure_percentage_threshold.value, found.failure_percentage_request_volume.value) == (
        40,
        9,
    )


def test_zero_in_a_row_is_not_looked_at() -> None:
    found = made("{consecutive5xx: 0, consecutiveGatewayErrors: 3}")
    assert (found.enforcing_consecutive_5xx.value, found.HasField("consecutive_5xx")) == (0, False)
    assert (found.consecutive_gateway_failure.value, found.enforcing_consecutive_gateway_failure.value) == (
        3,
        100,
    )


def test_what_the_sidecar_met_itself_is_counted_apart_only_when_asked_for() -> None:
    assert not made("{}").split_external_local_origin_errors
    found = made("{consecutiveLocalOriginFailures: 2}")
    assert found.split_external_local_origin_errors
    assert found.consecutive_local_origin_failure.value == 2


def test_the_longest_time_is_never_less_than_the_base() -> None:
    """Said by two policies, neither of which knows the other."""
    found = made("{baseEjectionTime: 20m}")
    assert found.max_ejection_time.ToSeconds() == 1200
    found = made("{baseEjectionTime: 20m, maxEjectionTime: 1m}")
    assert found.max_ejection_time.ToSeconds() == 1200


def test_a_route_has_no_endpoints() -> None:
    assert added(KIND, "{consecutive5xx: 3}", replace(CALLER, route=True)) == NOTHING


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "baseEjectionTime: 60s, maxEjectionTime: 30s",
            "spec.maxEjectionTime: 30s is less than baseEjectionTime, 60s. Make it longer, or leave it out",
        ),
        (
            "maxEjectionPercent: 0, alwaysEjectOne: false",
            "spec.maxEjectionPercent: no endpoint could ever be ejected. Use 1 or more",
        ),
        (
            "consecutive5xx: 3, consecutiveGatewayErrors: 5",
            (
                "spec.consecutiveGatewayErrors: gateway errors are 5xx too, and consecutive5xx, 3, is reached first. "
                "Make it less, or set consecutive5xx to 0"
            ),
        ),
        ("maxEjectionPercent: 101", "spec.maxEjectionPercent: 101 is too large. Use 100 or less"),
        (
            "interval: 0s",
            "spec.interval: 0s is no time at all. Use a duration above zero, or leave the field out",
        ),
        ("interval: 10", 'spec.interval: 10 is read as a number, and text is wanted. Put it in quotes: "10"'),
        ("successRate: {deviations: 0}", "spec.successRate.deviations: 0 is too small. Use 0.01 or more"),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("OutlierDetection", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
