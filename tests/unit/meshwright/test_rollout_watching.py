"""From what proxies log to what is compared: whose request it is, whether it failed, and how long it took."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from envoy import names
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.rollout import Bounds
from mesh.state import MeshState
from meshwright.access_logs import Entries
from meshwright.metrics import Metrics
from meshwright.rollout.outcomes import asked, ended, outcome
from meshwright.rollout.reach import Concerned
from meshwright.rollout.watching import Watching, some
from pb.envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry, TCPAccessLogEntry
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service

WEB_1, WEB_2, API_1 = a_key("web-1"), a_key("web-2"), a_key("api-1")


def a_request(
    status: int = 200, host: str = "api.mesh", milliseconds: int = 10, *flags: str
) -> HTTPAccessLogEntry:
    entry = HTTPAccessLogEntry()
    entry.response.response_code.value = status
    entry.request.authority = host
    entry.common_properties.time_to_first_downstream_tx_byte.FromMilliseconds(milliseconds)
    for flag in flags:
        setattr(entry.common_properties.response_flags, flag, True)
    return entry


def a_connection(*flags: str) -> TCPAccessLogEntry:
    entry = TCPAccessLogEntry()
    entry.common_properties.upstream_cluster = "default/db:5432"
    for flag in flags:
        setattr(entry.common_properties.response_flags, flag, True)
    return entry


@pytest.mark.parametrize(
    ("entry", "failed", "reason"),
    [
        (a_request(), False, ""),
        (a_request(404), False, ""),
        (a_request(503), True, "503"),
        (a_request(503, "api", 1, "upstream_connection_failure"), True, "503 upstream connection failure"),
        (a_request(404, "api", 1, "no_route_found"), True, "404 no route found"),
        (a_request(0, "api", 1, "downstream_connection_termination"), False, ""),
        (a_request(200, "api", 1, "delay_injected"), False, ""),
        (a_connection(), False, ""),
        (a_connection("upstream_connection_failure"), True, "connection: upstream connection failure"),
    ],
)
def test_what_is_a_failure(
    entry: HTTPAccessLogEntry | TCPAccessLogEntry, *, failed: bool, reason: str
) -> None:
    found = outcome(entry, client_errors=False)
    assert (found.failed, found.reason) == (failed, reason)


def test_what_clients_did_wrong_counts_if_it_is_asked_for() -> None:
    assert outcome(a_request(403), client_errors=True).reason == "403"


def test_grpc_has_a_status_of_its_own() -> None:
    for status, failed in (("0", False), ("14", True), ("5", False)):
        entry = a_request()
        entry.response.response_trailers["grpc-status"] = status
        assert outcome(entry, client_errors=False).failed is failed


def test_latency_is_that_of_the_first_byte() -> None:
    entry = a_request(milliseconds=250)
    entry.common_properties.duration.FromMilliseconds(60_000)
    assert outcome(entry, client_errors=False).latency == 0.25
    assert outcome(a_connection(), client_errors=False).latency is None


def test_who_was_called_is_who_was_asked_for() -> None:
    assert asked(a_request(host="API.mesh:80")) == "api.mesh"
    assert asked(a_request(host="api.mesh")) == "api.mesh"
    assert asked(a_connection()) == "default/db:5432"


def test_what_is_not_over_is_not_counted() -> None:
    entry = a_request()
    entry.common_properties.access_log_type = AccessLogType.DownstreamStart
    assert not ended(entry)
    entry.common_properties.access_log_type = AccessLogType.DownstreamEnd
    assert ended(entry)


class House:
    """web-1 has the change, web-2 has not; both call api."""

    def __init__(self, concerned: Concerned, having: set[Key], others: set[Key]) -> None:
        workloads = (
            a_proxy("api-1", address="10.0.0.1", sidecar=15101),
            a_proxy("web-1", address="10.0.0.2"),
            a_proxy("web-2", address="10.0.0.3"),
        )
        snapshot = SourceSnapshot("files", (a_service("api"), a_service("web")), workloads)
        state, _ = MeshState(TRUST_DOMAIN).apply(snapshot)
        self.watching = Watching(lambda: state, Metrics(CollectorRegistry()))
        self.watching.begin("r", Bounds())
        self.watching.published("r", 1000.0)
        self.watching.look("r", concerned, frozenset(having), frozenset(others))

    def says(self, log: str, workload: Key, *entries: HTTPAccessLogEntry) -> tuple[int, int, int, int]:
        told: Entries = entries
        self.watching.listeners()[log](workload, told)
        return self.watching.counts("r")


def test_whose_request_it_is() -> None:
    house = House(Concerned(callers=frozenset({WEB_1, WEB_2})), {WEB_1}, {WEB_2})
    assert house.says(names.CALLS_LOG, WEB_1, a_request(503)) == (1, 1, 0, 0)
    assert house.says(names.CALLS_LOG, WEB_2, a_request()) == (1, 1, 1, 0)
    assert house.says(names.SERVED_LOG, WEB_1, a_request(500)) == (2, 2, 1, 0)
    assert house.says(names.CALLS_LOG, API_1, a_request(500)) == (2, 2, 1, 0), "nobody watches it"
    assert house.watching.proxies() == {WEB_1, WEB_2}


def test_what_began_before_is_of_another_time() -> None:
    house = House(Concerned(callers=frozenset({WEB_1})), {WEB_1}, set())
    late = a_request(503)
    late.common_properties.start_time.seconds = 999
    assert house.says(names.CALLS_LOG, WEB_1, late) == (0, 0, 0, 0)
    late.common_properties.start_time.seconds = 1001
    assert house.says(names.CALLS_LOG, WEB_1, late) == (1, 1, 0, 0)
    house.watching.next_stage("r")
    assert house.says(names.CALLS_LOG, WEB_1, late) == (0, 0, 0, 0)


def test_a_call_to_who_has_the_change_is_one_with_it() -> None:
    house = House(Concerned(callees=frozenset({API_1})), {API_1}, {WEB_1})
    there = a_request(503)
    there.common_properties.upstream_remote_address.socket_address.address = "10.0.0.1"
    there.common_properties.upstream_remote_address.socket_address.port_value = 15101
    assert house.says(names.CALLS_LOG, WEB_1, there) == (1, 1, 0, 0)
    assert house.says(names.CALLS_LOG, WEB_1, a_request(host="store")) == (1, 1, 1, 0)


def test_what_ended_is_watched_no_longer() -> None:
    house = House(Concerned(callers=frozenset({WEB_1})), {WEB_1}, set())
    house.watching.end("r")
    assert house.watching.proxies() == frozenset()
    assert house.says(names.CALLS_LOG, WEB_1, a_request()) == (0, 0, 0, 0)


def test_of_many_some_are_watched_the_same_each_time() -> None:
    many = [a_key(f"web-{number}") for number in range(500)]
    assert len(some(many)) == 200
    assert some(many) == some(reversed(many))
