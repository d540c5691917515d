"""From what sidecars log of calls without mesh TLS to what an operator reads."""

from __future__ import annotations

import io

import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from api.shapes.status import PlaintextReport, UnstrictPort
from envoy import names
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.plaintext_calls import PlaintextCalls
from mesh.state import MeshState
from meshwright.metrics import Metrics
from meshwright.plaintext import PlaintextWatch
from meshwright.plaintext_table import show, verdict
from pb.envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry, TCPAccessLogEntry
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service, a_workload
from tests.support.policy_documents import declared

API = a_key("api-1")
PERMISSIVE = """
apiVersion: meshwright.dev/v1alpha1
kind: MeshTLS
metadata: {name: all}
spec: {targetRefs: [{kind: Mesh}], mode: permissive}
"""


class House:
    """api has a sidecar on 15101; batch and cron share the address of a host without one."""

    def __init__(self, policies: str = PERMISSIVE) -> None:
        self.now = 1000.0
        workloads = (
            a_proxy("api-1", sidecar=15101, address="10.0.0.1"),
            a_workload("batch-1", services=[], address="10.0.0.7"),
            a_workload("cron-1", services=[], address="10.0.0.7"),
        )
        values = declared(policies) if policies else ()
        snapshot = SourceSnapshot("file", (a_service("api"),), workloads, values)
        self.state, _ = MeshState(TRUST_DOMAIN).apply(snapshot)
        self.connected = frozenset({str(API)})
        self.metrics = Metrics(CollectorRegistry())
        self.watch = PlaintextWatch(
            PlaintextCalls(lambda: self.now),
            lambda: self.state,
            lambda: self.connected,
            self.metrics,
            lambda: self.now,
        )

    def http(self, port: int = 15101, caller: str = "10.0.0.7", workload: Key = API) -> None:
        entry = HTTPAccessLogEntry()
        entry.common_properties.access_log_type = AccessLogType.DownstreamStart
        entry.common_properties.downstream_local_address.socket_address.port_value = port
        entry.common_properties.downstream_direct_remote_address.socket_address.address = caller
        self.watch.listeners()[names.PLAINTEXT_LOG](workload, [entry])

    def tcp(
        self, kind: AccessLogType.ValueType, log: str = names.PLAINTEXT_LOG, *, upstream: bool = True
    ) -> None:
        entry = TCPAccessLogEntry()
        entry.common_properties.access_log_type = kind
        entry.common_properties.downstream_local_address.socket_address.port_value = 15101
        entry.common_properties.downstream_direct_remote_address.socket_address.address = "10.0.0.7"
        if upstream:
            entry.common_properties.upstream_remote_address.socket_address.address = "127.0.0.1"
        self.watch.listeners()[log](API, [entry])

    def counts(self) -> dict[str, int]:
        return {each.spoken: each.count for each in self.watch.report()().calls}


def test_who_calls_whom_by_address_and_by_the_workloads_that_have_it() -> None:
    house = House()
    house.http()
    house.now += 30
    house.http()
    report = house.watch.report()()
    (call,) = report.calls
    assert (call.service, call.port, call.spoken, call.count) == ("default/api", 80, "http", 2)
    assert (call.caller, call.workloads) == ("10.0.0.7", ("default/batch-1", "default/cron-1"))
    assert (call.first, call.last) == (30.0, 0.0)
    assert report.ports == (
        UnstrictPort(
            service="default/api", port=80, modes=("permissive",), sidecars=1, connected=1, last=0.0
        ),
    )
    assert house.watch.lately()() == {(a_key("api"), 80): ("10.0.0.7 (default/batch-1, default/cron-1)",)}
    house.watch.refresh_metrics()
    assert house.metrics.registry.get_sample_value("meshwright_plaintext_callers") == 1
    house.now += 3601
    assert house.watch.lately()() == {}


def test_a_connection_counts_once_however_often_it_is_told_of() -> None:
    house = House()
    house.tcp(AccessLogType.TcpUpstreamConnected)
    house.tcp(AccessLogType.TcpPeriodic)
    house.tcp(AccessLogType.TcpConnectionEnd)
    assert house.counts() == {"tcp": 1}
    house.tcp(AccessLogType.TcpConnectionEnd, upstream=False)
    assert house.counts() == {"tcp": 2}, "nobody was there to connect to, and so it was not told of before"
    house.tcp(AccessLogType.TcpUpstreamConnected, names.OWN_TLS_LOG)
    assert house.counts() == {"tcp": 2, "tls": 1}


@pytest.mark.parametrize(("port", "caller", "workload"), [(15999, "10.0.0.7", API), (15101, "", API)])
def test_what_makes_no_sense_is_not_recorded(port: int, caller: str, workload: Key) -> None:
    house = House()
    house.http(port, caller, workload)
    assert not house.watch.report()().calls
    labels = {"outcome": "meaningless"}
    assert house.metrics.registry.get_sample_value("meshwright_access_log_entries_total", labels) == 1


def test_a_proxy_speaks_of_its_own_ports_alone() -> None:
    house = House()
    house.http(15101, "10.0.0.7", a_key("batch-1"))
    house.http(15101, "10.0.0.7", a_key("nobody-1"))
    assert not house.watch.report()().calls


@pytest.mark.parametrize(
    ("last", "connected", "watched_for", "said"),
    [
        (60.0, 2, 7200.0, "no: it would refuse the callers below"),
        (60.0, 1, 10.0, "no: it would refuse the callers below"),
        (None, 1, 7200.0, "not known: not all of its sidecars are connected"),
        (None, 2, 600.0, "not known: watched for 10m only; an hour is enough"),
        (None, 2, 7200.0, "yes"),
        (4000.0, 2, 7200.0, "yes"),
    ],
)
def test_whether_a_port_can_be_strict(
    last: float | None, connected: int, watched_for: float, said: str
) -> None:
    port = UnstrictPort(
        service="default/api", port=80, modes=("permissive",), sidecars=2, connected=connected, last=last
    )
    assert verdict(port, watched_for) == said
    assert verdict(port, watched_for, 2) != "yes", "others may have heard of calls"


def shown(report: PlaintextReport) -> str:
    out = io.StringIO()
    show(report, Console(file=out, highlight=False))
    return out.getvalue()


def test_that_no_port_is_left_is_said_where_calls_are_known_of_before() -> None:
    house = House()
    house.http()
    report = house.watch.report()()
    text = shown(report.model_copy(update={"ports": ()}))
    assert "every port is strict" in text
    assert "last plaintext" not in text
    assert report.calls[0].caller in text


def test_what_is_shown() -> None:
    house = House()
    house.http()
    house.now += 120
    text = shown(house.watch.report()())
    assert "watched for 2m, since this control plane started: what came before is not known" in text
    assert "default/api:80" in text
    assert "2m ago" in text
    assert "no: it would refuse the callers below" in text
    assert "default/batch-1, default/cron-1" in text
    assert "every port is strict" in shown(House("").watch.report()())
