"""`docker compose up` of compose.yaml brings up the mesh on real Consul, and requests pass through it.

Where no registry can be pulled from, scripts/docker/images.sh makes the base images locally, under the names that the files
use. Needs root, for installing docker and running its daemon, or a daemon that already answers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.binaries import ROOT
from tests.support.ports import free_port

PATIENCE = 120.0
"""Seconds until the mesh carries requests. It takes ten or so on an idle machine."""

pytestmark = pytest.mark.timeout(1200)  # the images are made once, from packages


def run(*command: str, **env: str) -> str:
    """The output of `command`; its errors and output are shown if it fails."""
    ran = subprocess.run(
        command, check=False, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip
    if ran.returncode:
        pytest.fail(f"{' '.join(command)} exited with {ran.returncode}:\n{ran.stdout[-4000:]}", pytrace=False)
    return ran.stdout


def answers() -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(["docker", "info"], check=False, capture_output=True).returncode == 0
    return False


@pytest.fixture(scope="module")
def docker() -> Iterator[None]:
    """A docker daemon with the base images; one that was started for this is stopped again."""
    started = False
    if not answers():
        if os.geteuid() != 0:
            pytest.skip(
                "compose.yaml was not run: no docker daemon answers, and only root can install and start one"
            )
        run("scripts/docker/install.sh")
        run("scripts/docker/daemon.sh", "start")
        started = True
    elif os.geteuid() == 0:
        run("scripts/docker/install.sh")  # a daemon may answer where the compose plugin is missing
    try:
        run("scripts/docker/images.sh")
        yield
    finally:
        if started:
            run("scripts/docker/daemon.sh", "stop")


@dataclass(frozen=True, slots=True)
class Compose:
    """The project of compose.yaml under a name of the test's own."""

    project: str
    port: int

    def __call__(self, *arguments: str) -> str:
        return run(
            "docker",
            "compose",
            "--project-name",
            self.project,
            *arguments,
            MESHWRIGHT_WEB_PORT=str(self.port),
        )

    def get(self) -> dict[str, Any]:
        """What web answers on its published port; OSError or AssertionError while it does not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()
        assert answer.status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def eventually(self, question: Callable[[], bool], what: str) -> None:
        deadline, last = time.monotonic() + PATIENCE, None
        while time.monotonic() < deadline:
            try:
                if question():
                    return
            except (AssertionError, OSError) as error:
                last = error
            time.sleep(0.1)
        pytest.fail(
            f"not within {PATIENCE:.0f} s: {what} (last: {last!r})\n{self('logs', '--tail', '15')}",
            pytrace=False,
        )


@pytest.fixture(scope="module")
def compose(docker: None) -> Iterator[Compose]:
    project = Compose(f"meshwright-test-{os.getpid()}", free_port())
    try:
        project("up", "--build", "--detach", "--quiet-pull")
        yield project
    finally:
        project("down", "--volumes", "--remove-orphans", "--timeout", "5")


def hops(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    current: dict[str, Any] | None = answer
    while current:
        yield current
        current = current.get("next")


def test_a_request_passes_from_web_to_api_to_store_over_mutual_tls(compose: Compose) -> None:
    seen: set[str] = set()

    def every_instance() -> bool:
        chain = list(hops(compose.get()))
        assert [hop["service"] for hop in chain] == ["web", "api", "store"]
        assert [hop["caller"] for hop in chain] == [
            None,
            "spiffe://mesh.local/ns/default/sa/web",
            "spiffe://mesh.local/ns/default/sa/api",
        ]
        seen.update(hop["instance"] for hop in chain)
        return seen == {"web-1", "api-1", "api-2", "store-1", "store-2"}

    compose.eventually(every_instance, "requests reach every instance of every service")


def test_an_inbound_port_refuses_plaintext(compose: Compose) -> None:
    compose.eventually(lambda: bool(compose.get()), "a request passes")
    ask = "import urllib.request as u; u.urlopen('http://api-1:15101/', timeout=5)"
    told = compose(
        "exec",
        "-T",
        "web-1",
        "python",
        "-c",
        f"try:\n {ask}\nexcept OSError as error: print('refused:', error)",
    )
    assert "refused:" in told


def test_status_shows_every_proxy_in_sync(compose: Compose) -> None:
    def in_sync() -> bool:
        told = compose("exec", "-T", "control-plane", "meshwright", "status", "--output", "json")
        proxies = json.loads(told)["proxies"]
        waiting = [each for proxy in proxies for each in proxy["types"] if each["pending"] or each["refused"]]
        return len(proxies) == 5 and not waiting

    compose.eventually(in_sync, "the status lists five proxies, none behind")


def test_no_request_fails_while_an_instance_is_stopped(compose: Compose) -> None:
    """Its sidecar deregisters first, then drains."""
    compose.eventually(lambda: bool(compose.get()), "a request passes")
    stopping = subprocess.Popen(
        ["docker", "compose", "--project-name", compose.project, "stop", "api-2-sidecar"],
        cwd=ROOT,
        env={**os.environ, "MESHWRIGHT_WEB_PORT": str(compose.port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while stopping.poll() is None:
            assert [hop["service"] for hop in hops(compose.get())] == ["web", "api", "store"]
    finally:
        stopping.wait()
    assert {list(hops(compose.get()))[1]["instance"] for _ in range(10)} == {"api-1"}
