"""A sidecar that registers its service in Consul: what a workload's container runs beside the application.

It registers the instance with its meta (discovery/consul_mapping.py says what they mean), and again if Consul has forgotten it; runs
`meshwright proxy` until it is told to stop; and deregisters before the proxy drains, so that no new request comes.
From the environment: CONSUL, SERVICE, WORKLOAD, USES (comma separated), APP_PORT; the rest is read by `meshwright proxy`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

SIDECAR_PORT = 15101
OUTBOUND_PORT = 15001
ADMIN_PORT = 15000
LOOK_AGAIN = 5.0
"""Seconds between two looks whether Consul still knows the service: an agent that was replaced has forgotten it."""


class Registration:
    """One service instance in Consul's agent (https://developer.hashicorp.com/consul/api-docs/agent/service)."""

    def __init__(self, consul: str, service: str, workload: str, uses: str, app_port: str) -> None:
        self._consul = consul
        self._workload = workload
        address = socket.gethostbyname(socket.gethostname())
        self._body = {
            "ID": workload,
            "Name": service,
            "Address": address,
            "Port": SIDECAR_PORT,
            "Meta": {
                "namespace": "default",
                "service-account": service,
                "workload": workload,
                "protocol": "http",
                "port-name": "http",
                "app-port": app_port,
                "meshed": "true",
                "uses": uses,
                "outbound-port": str(OUTBOUND_PORT),
            },
            # Passing as soon as the proxy listens, which it does once the control plane has told it to.
            "Check": {"TCP": f"{address}:{SIDECAR_PORT}", "Interval": "1s", "Timeout": "1s"},
        }

    def known(self) -> bool:
        try:
            self._ask("GET", f"/v1/agent/service/{self._workload}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False
        return True

    def register(self) -> None:
        self._ask("PUT", "/v1/agent/service/register", json.dumps(self._body).encode())

    def deregister(self) -> None:
        self._ask("PUT", f"/v1/agent/service/deregister/{self._workload}", b"")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> None:
        request = urllib.request.Request(self._consul + path, data=body, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()


def keep_registered(registration: Registration, stopping: threading.Event) -> None:
    """Until stopping. A Consul that does not answer is asked again."""
    while True:
        try:
            if not registration.known():
                registration.register()
                print("registered in Consul", flush=True)
        except OSError as error:
            print(f"Consul does not answer: {error}", file=sys.stderr, flush=True)
        if stopping.wait(LOOK_AGAIN):
            return


def end_with(proxy: subprocess.Popen[bytes], stopping: threading.Event) -> None:
    """A proxy that ends by itself ends this program too."""
    proxy.wait()
    stopping.set()


def main() -> int:
    environ = os.environ
    workload = environ["WORKLOAD"]
    registration = Registration(
        environ["CONSUL"], environ["SERVICE"], workload, environ.get("USES", ""), environ["APP_PORT"]
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    # In a process group of its own: a signal to ours must not reach it before the service is deregistered.
    command = [
        "meshwright",
        "proxy",
        "--workload",
        f"default/{workload}",
        "--token-file",
        f"/join/{workload}.token",
    ]
    proxy = subprocess.Popen([*command, *sys.argv[1:]], start_new_session=True)
    keeper = threading.Thread(target=keep_registered, args=(registration, stopping))
    keeper.start()
    threading.Thread(target=end_with, args=(proxy, stopping), daemon=True).start()
    stopping.wait()
    keeper.join()
    try:
        registration.deregister()
    except OSError as error:
        print(f"cannot deregister: {error}", file=sys.stderr, flush=True)
    if proxy.poll() is None:
        proxy.terminate()
    return proxy.wait()


if __name__ == "__main__":
    sys.exit(main())
