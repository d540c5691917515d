"""The application's checks, put through the sidecar's agent: the kubelet has no certificate of the mesh, and strict mutual TLS would close
the door to it.

HTTP, TCP and gRPC probes become HTTP probes of the agent, which makes the check itself (`agent/app_probes.py`); times and thresholds
stay. `exec` probes run in the container and stay as they are, and so do HTTP probes that name another host.
https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from agent.app_probes import AGENT_PORT, LEFT, PRE_STOP, AppCheck, GrpcCheck, HttpCheck, TcpCheck, Way
from inject.names import Json

PROBES: Final = {"livenessProbe": "liveness", "readinessProbe": "readiness", "startupProbe": "startup"}
HOOK_TIMEOUT: Final = 3600.0
"""Seconds. The kubelet waits for a hook as long as the pod's grace period lets it."""

_WAYS: Final = ("httpGet", "tcpSocket", "grpc")

Warn = Callable[[str], None]


def through_the_agent(containers: list[Json], warn: Warn) -> tuple[AppCheck, ...]:
    """Rewrite the checks of `containers` in place; what the agent has to check. `warn` is told of each that has to stay as it is."""
    return tuple(check for container in containers for check in _container(container, warn))


def wait_for_callers(container: Json) -> bool:
    """Have the kubelet hold the container's end until callers have heard of it, and say whether that could be done.

    A sidecar's own preStop runs beside those of the containers and holds nobody but itself
    (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/): so each container waits by a hook of its own. One that
    has a hook already keeps it; a hook over HTTP has become the agent's, which waits as well.
    """
    lifecycle = container["lifecycle"] = container.get("lifecycle") or {}
    if hook := lifecycle.get("preStop"):
        return str((hook.get("httpGet") or {}).get("path", "")).startswith(f"{LEFT}/")
    lifecycle["preStop"] = {"httpGet": {"path": LEFT, "port": AGENT_PORT, "scheme": "HTTP"}}
    return True


def _container(container: Json, warn: Warn) -> Iterator[AppCheck]:
    for field, kind in PROBES.items():
        probe = container.get(field)
        if probe:
            timeout = float(probe.get("timeoutSeconds") or 1)
            yield from _rewritten(container, field, probe, kind, timeout, warn)
    lifecycle = container.get("lifecycle") or {}
    if (lifecycle.get("postStart") or {}).get("httpGet"):
        warn(
            f"container {container['name']}: lifecycle.postStart is an HTTP call, which strict mutual TLS refuses: use exec"
        )
    if end := lifecycle.get("preStop"):
        for check in _rewritten(container, "lifecycle.preStop", end, PRE_STOP, HOOK_TIMEOUT, warn):
            end["httpGet"]["path"] = f"{LEFT}/{container['name']}"
            yield check


def _rewritten(
    container: Json, field: str, handler: Json, kind: str, timeout: float, warn: Warn
) -> Iterator[AppCheck]:
    where = next((each for each in _WAYS if handler.get(each) is not None), None)
    if where is None:
        return
    said: Mapping[str, Any] = handler[where]
    if said.get("host"):
        warn(f"container {container['name']}: {field} is left as it is: it names the host {said['host']}")
        return
    port = _port(container, said.get("port"))
    if port is None:
        warn(
            f"container {container['name']}: {field} is left as it is: no port of this container is called {said.get('port')!r}"
        )
        return
    check = AppCheck(f"{container['name']}/{kind}", _way(where, port, said), timeout)
    del handler[where]
    handler["httpGet"] = {"path": check.path, "port": AGENT_PORT, "scheme": "HTTP"}
    yield check


def _way(where: str, port: int, said: Mapping[str, Any]) -> Way:
    if where == "tcpSocket":
        return TcpCheck(port)
    if where == "grpc":
        return GrpcCheck(port, said.get("service") or "")
    headers = tuple((each["name"], each.get("value", "")) for each in said.get("httpHeaders") or ())
    return HttpCheck(port, said.get("path") or "/", (said.get("scheme") or "HTTP").lower(), headers)


def _port(container: Json, port: object) -> int | None:
    """A name is that of one of the container's own ports."""
    if isinstance(port, int):
        return port
    if isinstance(port, str) and port.isdecimal():
        return int(port)
    for each in container.get("ports") or ():
        if each.get("name") == port and port:
            return int(each["containerPort"])
    return None
