"""Checks of the application that the agent makes in the orchestrator's place, as values, and their text in the environment.

Under strict mutual TLS nobody from outside reaches the application in plaintext, the kubelet included. So the kubelet asks the agent, at
`/app-health/<container>/<check>` of a port that is not intercepted, and the agent asks the application. Which checks there are stands in
the variable `VARIABLE` of the sidecar: what is asked of the application is what its manifest said, and nothing that a caller adds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from agent.errors import BadOption

VARIABLE: Final = "MESHWRIGHT_APP_CHECKS"
PREFIX: Final = "/app-health"
"""The paths of the agent under which the checks are."""
READY: Final = "/healthz/ready"
"""Answers 200 once the sidecar has its configuration, 503 before."""
LEFT: Final = "/left"
"""Answers once callers have heard that this pod ends, and soon when it does not end. `/left/<container>` makes the call then that the
container wants at its end: nobody who reaches the pod can make it at another time."""
PRE_STOP: Final = "pre-stop"
"""The name of that call among the checks. It is not to be had under `PREFIX`."""
AGENT_PORT: Final = 15021
"""Where the agent answers the kubelet. In plaintext; `meshwright intercept` is told to pass it by."""


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """GET `path` (with its query) of `port`. `scheme` is http or https, whose certificate nobody verifies, as the kubelet does not."""

    port: int
    path: str = "/"
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """That `port` takes a connection."""

    port: int


@dataclass(frozen=True, slots=True)
class GrpcCheck:
    """That `grpc.health.v1.Health` at `port` says SERVING for `service`."""

    port: int
    service: str = ""


Way: TypeAlias = HttpCheck | TcpCheck | GrpcCheck


@dataclass(frozen=True, slots=True)
class AppCheck:
    """`name` is `<container>/<check>`; `timeout` is in seconds."""

    name: str
    way: Way
    timeout: float = 1.0

    @property
    def path(self) -> str:
        """Where the agent is asked for it."""
        return f"{PREFIX}/{self.name}"


def dumped(checks: tuple[AppCheck, ...]) -> str:
    """As text, the same for the same checks."""
    return json.dumps({each.name: _said(each) for each in checks}, sort_keys=True, separators=(",", ":"))


def parsed(text: str) -> dict[str, AppCheck]:
    """By name. BadOption if `text` is not what `dumped` makes."""
    try:
        read = json.loads(text)
        return {name: _read(name, said) for name, said in read.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadOption(
            f"{VARIABLE} does not say which checks the application has ({error}): inject the pod again"
        ) from error


def _said(check: AppCheck) -> dict[str, Any]:
    said: dict[str, Any] = {"timeout": check.timeout}
    match check.way:
        case HttpCheck(port, path, scheme, headers):
            said["http"] = {"port": port, "path": path, "scheme": scheme, "headers": [*map(list, headers)]}
        case TcpCheck(port):
            said["tcp"] = {"port": port}
        case GrpcCheck(port, service):
            said["grpc"] = {"port": port, "service": service}
    return said


def _read(name: str, said: Mapping[str, Any]) -> AppCheck:
    way: Way
    if (http := said.get("http")) is not None:
        headers = tuple((str(key), str(value)) for key, value in http["headers"])
        way = HttpCheck(int(http["port"]), str(http["path"]), str(http["scheme"]), headers)
    elif (grpc := said.get("grpc")) is not None:
        way = GrpcCheck(int(grpc["port"]), str(grpc["service"]))
    else:
        way = TcpCheck(int(said["tcp"]["port"]))
    return AppCheck(name, way, float(said["timeout"]))
