"""What people read: troubles first, nothing cut off, and no tricks by those it is about."""

from __future__ import annotations

import io

from rich.console import Console

from api.shapes.status import HoldStatus, ProxyStatus, Refusal, SourceState, Status, TypeStatus
from meshwright.tables import show_status, troubled


def a_status(*, nack: str | None = None, error: str | None = None) -> Status:
    refusal = (
        Refusal(names=("default/api:80",), message=nack, version="1", age=1.0, origin=("api.yaml#1",))
        if nack
        else None
    )
    kind = TypeStatus(
        type="Cluster", subscribed="everything", sent=1, acknowledged=0, in_sync=nack is None, late=False, pending=(),
        held_back=(), refused=refusal,
    )  # fmt: skip
    proxy = ProxyStatus(
        proxy="default/web-1", state="connected", peer="", agent="envoy", protocol="delta", connected_for=1, types=(kind,), note="",
    )  # fmt: skip
    source = SourceState(
        source="files", state="live", since=1, services=1, workloads=1, error=error, errors=(), warnings=()
    )
    return Status(
        version="0", trust_domain="mesh.test", ready=True, services=1, workloads=1, proxies=(proxy,), sources=(source,),
        holds=(), problems={}, notes=(), conflicts=(), certificates={},
    )  # fmt: skip


def shown(status: Status) -> str:
    out = io.StringIO()
    show_status(status, "meshwright hold release --data-dir d", Console(file=out, highlight=False))
    return out.getvalue()


def test_a_calm_mesh_is_one_line_for_each_proxy() -> None:
    text = shown(a_status())
    assert "default/web-1  in sync" in text
    assert not troubled(a_status())


def test_a_refusal_leads_to_the_document_before_everything_else() -> None:
    text = shown(a_status(nack="no such filter"))
    assert text.index("NACK default/web-1 Cluster default/api:80: no such filter") < text.index(
        "connected for"
    )
    assert "made by api.yaml#1" in text
    assert "refused Cluster" in text
    assert troubled(a_status(nack="no such filter"))


def test_what_was_sent_and_refused_is_not_called_unsent() -> None:
    problems = {
        "EnvoyPatch default/x at envoy 1.40": "Envoy refuses Listener outbound",
        "HTTPRoute default/y": "it is in force nowhere: requests failed",
        "default/api": "EnvoyPatch default/z does not fit",
        "proxy default/web-1": "it refuses so much",
        "authority": "Secret meshwright-system/meshwright-authority is gone",
    }
    one, two, _, proxy, authority = problems
    text = shown(
        a_status().model_copy(
            update={
                "problems": problems,
                "quarantined": (one, proxy),
                "of_rollouts": (two,),
                "of_cluster": (authority,),
            }
        )
    )
    assert f"QUARANTINED {one}: Envoy refuses Listener" in text
    assert f"ROLLOUT {two}: it is in force nowhere" in text
    assert f"REFUSING {proxy}: it refuses so much" in text
    assert "NOT SENT default/api: Envoy would refuse it: EnvoyPatch" in text
    assert "CLUSTER authority: Secret meshwright-system/meshwright-authority is gone" in text
    assert text.count("NOT SENT") == 1


def test_foreign_text_can_neither_clear_the_screen_nor_forge_a_line() -> None:
    text = shown(a_status(nack="x\x1b[2J\nready", error="\x1b]0;t\x07"))
    assert "\x1b" not in text
    assert "\nready" not in text


def test_the_command_that_ends_a_hold_is_complete() -> None:
    hold = HoldStatus(
        service="default/api", source="files", endpoints=5, reason="half went", held_for=1, ends_in=599
    )
    text = shown(a_status().model_copy(update={"holds": (hold,)}))
    assert "meshwright hold release --data-dir d default/api" in text
