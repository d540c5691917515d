"""Short manifests of what tests run in the cluster. All of them may run under restricted Pod Security."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

IMAGE = "kube.local/debian:1"
"""Debian with a shell, curl and Python: made by scripts/kubernetes/build.sh, on every node."""

RESTRICTED: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

ECHO = """
import http.server, json, os, socket

class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        said = {"pod": socket.gethostname(), "path": self.path, "peer": self.client_address[0]}
        said |= {"version": os.environ.get("VERSION"), "headers": {k.lower(): v for k, v in self.headers.items()}}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("", 8080), Echo).serve_forever()
"""
"""Answers each request with JSON: which pod it is, and what it got (headers in lower case)."""


def container(
    name: str = "app", command: Sequence[str] = ("sleep", "infinity"), **more: Any
) -> dict[str, Any]:
    """A container of the debian image that does nothing unless told."""
    return {
        "name": name,
        "image": IMAGE,
        "command": list(command),
        "securityContext": dict(RESTRICTED),
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        **more,
    }


def echo(version: str = "v1") -> dict[str, Any]:
    """The container of the echo service: HTTP on port 8080."""
    return container(
        "echo",
        ("python3", "-u", "-c", ECHO),
        env=[{"name": "VERSION", "value": version}],
        ports=[{"containerPort": 8080, "name": "http"}],
        readinessProbe={"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
    )


def service_account(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def deployment(
    name: str,
    *containers: Mapping[str, Any],
    replicas: int = 1,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    account: str | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A Deployment of pods labelled `app=NAME`, with the echo container if none is given. `spec` is the pods' own."""
    chosen = {"app": name, **(labels or {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": chosen, "annotations": dict(annotations or {})},
                "spec": {
                    "containers": [dict(each) for each in containers] or [echo()],
                    **({"serviceAccountName": account} if account else {}),
                    **spec,
                },
            },
        },
    }


def pod(
    name: str, *containers: Mapping[str, Any], labels: Mapping[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """A pod labelled `app=NAME` that sleeps, unless containers are given; it ends at once."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
        "spec": {
            "containers": [dict(each) for each in containers] or [container()],
            "terminationGracePeriodSeconds": 1,
            **spec,
        },
    }


def service(name: str, port: int = 80, target: int | str = "http", **spec: Any) -> dict[str, Any]:
    """A Service of the pods labelled `app=NAME`, with one port of HTTP."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": target, "appProtocol": "http"}],
            **spec,
        },
    }
