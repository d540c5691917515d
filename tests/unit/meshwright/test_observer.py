"""What the xDS server tells of itself, as log lines of bounded number."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from ca.times import system_clock
from meshwright.audit import AuditLog
from meshwright.metrics import Metrics
from meshwright.observer import LATELY, LINES, StreamObserver
from xds.state import Refusal
from xds.types import CLUSTER

REFUSAL = Refusal(version="1", nonce="1", names=("c",), message="no", at=0.0, origin=())


def test_a_proxy_that_refuses_for_ever_does_not_fill_the_log(tmp_path: Path) -> None:
    now, registry = [0.0], CollectorRegistry()
    observer = StreamObserver(
        Metrics(registry), lambda _: None, AuditLog(tmp_path, system_clock), lambda: now[0]
    )
    with capture_logs() as lines:
        for _ in range(1000):
            observer.rejected("default/bad", CLUSTER, REFUSAL)
        observer.rejected("default/other", CLUSTER, REFUSAL)
    assert [line["event"] for line in lines] == [
        *["proxy refused resources"] * LINES,
        "proxy goes on refusing: see `meshwright status`",
        "proxy refused resources",
    ]
    assert registry.get_sample_value("meshwright_xds_nacks_total", {"type": "Cluster"}) == 1001
    now[0] += LATELY + 1
    with capture_logs() as lines:
        observer.rejected("default/bad", CLUSTER, REFUSAL)
    assert len(lines) == 1
