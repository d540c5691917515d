"""The last access log entries of each proxy, and what they amount to."""

from __future__ import annotations

from mesh.names import Key
from meshwright.access_lines import AccessLines
from pb.envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry, TCPAccessLogEntry

WEB, API = Key("shop", "web-1"), Key("shop", "api-1")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_request(
    status: int = 200, seconds: float = 0.01, path: str = "/orders?card=4111"
) -> HTTPAccessLogEntry:
    entry = HTTPAccessLogEntry()
    entry.request.request_method = 1  # type: ignore[assignment]
    entry.request.authority, entry.request.path = "api.mesh", path
    entry.response.response_code.value = status
    entry.common_properties.upstream_cluster = "api"
    entry.common_properties.start_time.FromSeconds(1_700_000_000)
    entry.common_properties.time_to_last_downstream_tx_byte.FromMicroseconds(int(seconds * 1e6))
    return entry


def test_a_request_is_told_without_its_query() -> None:
    lines = AccessLines(Clock())
    lines.take(WEB, [a_request(503)], "calls")
    (line,) = lines.lines(WEB, 10)
    assert (line.method, line.authority, line.path, line.status) == ("GET", "api.mesh", "/orders", 503)
    assert (line.cluster, line.duration) == ("api", 0.01)


def test_who_called_and_what_policies_made_of_it() -> None:
    lines = AccessLines(Clock())
    entry = a_request(403)
    peer = entry.common_properties.tls_properties.peer_certificate_properties
    peer.subject_alt_name.add().uri = "spiffe://mesh.test/ns/shop/sa/web"
    entry.response.response_code_details = "rbac_access_denied_matched_policy[shop/store]"
    said = entry.common_properties.metadata.filter_metadata["envoy.filters.http.rbac"]
    said["enforced_effective_policy_id"] = "shop/store"
    said["dry_run_shadow_effective_policy_id"] = "shop/trial"
    lines.take(API, [entry, a_request()], "served")
    refused, served = lines.lines(API, 10)
    assert refused.caller == "spiffe://mesh.test/ns/shop/sa/web"
    assert (refused.policy, refused.would_refuse) == ("shop/store", "shop/trial")
    assert refused.details.startswith("rbac_access_denied")
    assert (served.caller, served.policy, served.would_refuse) == ("", "", "")


def test_a_request_that_has_only_begun_has_no_status_and_is_no_error() -> None:
    lines = AccessLines(Clock())
    begun = a_request(0)
    begun.common_properties.access_log_type = AccessLogType.DownstreamStart
    lines.take(API, [begun, a_request(200)], "plaintext")
    assert [each.status for each in lines.lines(API, 10)] == [None, 200]
    assert lines.rates(60)[0].errors == 0


def test_a_connection_has_no_status() -> None:
    lines = AccessLines(Clock())
    entry = TCPAccessLogEntry()
    entry.connection_properties.received_bytes = 7
    entry.common_properties.response_flags.upstream_connection_failure = True
    lines.take(WEB, [entry], "calls")
    (line,) = lines.lines(WEB, 10)
    assert (line.method, line.status, line.received) == ("", None, 7)
    assert line.flags == ("upstream_connection_failure",)
    assert lines.rates(60)[0].errors == 1


def test_rates_are_over_the_window() -> None:
    clock = Clock()
    lines = AccessLines(clock)
    lines.take(WEB, [a_request()] * 10, "calls")
    clock.now += 100
    lines.take(WEB, [a_request(seconds=0.02)] * 3 + [a_request(500, seconds=0.5)], "calls")
    (rates,) = lines.rates(60)
    assert (rates.count, rates.errors, rates.over, rates.crowded) == (4, 1, 60, False)
    assert (rates.p50, rates.p99) == (0.02, 0.5)


def test_of_a_busy_proxy_the_rate_is_over_what_is_kept() -> None:
    clock = Clock()
    lines = AccessLines(clock, per_proxy=5)
    for _ in range(20):
        clock.now += 1
        lines.take(WEB, [a_request()], "calls")
    (rates,) = lines.rates(60)
    assert (rates.count, rates.crowded, rates.over) == (5, True, 4)


def test_who_is_noisy_crowds_out_nobody_else_and_who_is_silent_the_longest_goes_first() -> None:
    lines = AccessLines(Clock(), per_proxy=3, proxies=2)
    lines.take(API, [a_request()], "calls")
    lines.take(WEB, [a_request()] * 100, "calls")
    assert len(lines.lines(API, 10)) == 1
    assert len(lines.lines(WEB, 10)) == 3
    lines.take(Key("shop", "new-1"), [a_request()], "calls")
    assert lines.lines(API, 10) == []


def test_who_listened_before_is_given_the_same() -> None:
    heard: list[tuple[Key, int]] = []
    lines = AccessLines(Clock())
    listeners = lines.beside({"plaintext": lambda workload, entries: heard.append((workload, len(entries)))})
    listeners["plaintext"](WEB, [a_request(), a_request()])
    assert heard == [(WEB, 2)]
    assert len(lines.lines(WEB, 10)) == 2
