"""The command line from another machine, with a token; and while a proxy is stuck."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.processes import PATIENCE
from tests.support.shop import a_shop, work_in
from tests.support.terminal import through_pipe

STORE = """\
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: api-1}
spec:
  services: [api]
  serviceAccount: api
  address: 127.0.0.1
  ports: [{name: http, app: 9001, sidecar: 15101}]
  meshed: true
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with a_shop(tmp_path_factory.mktemp("cli")) as made:
        yield made


@pytest.fixture
def here(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    return work_in(plane, monkeypatch)


def test_from_afar_a_token_says_what_one_may(here: ControlPlane) -> None:
    token = here.folder / "viewer.token"
    made = through_pipe("api-token", "create", "somebody", "--role", "viewer")
    assert made.code == 0, made
    token.write_text(made.out)
    afar = ("--server", f"https://localhost:{here.api}", "--token-file", str(token))
    trusted = (*afar, "--ca-file", str(here.data / "roots.pem"))
    assert "checkout-of-the-whole-shop" in through_pipe("get", "services", *trusted).out
    refused = through_pipe("delete", "retry", "api", *trusted)
    assert refused.code == 6
    assert "somebody" in refused.err
    assert "--role" in refused.err or "api-token create" in refused.err
    # Without the mesh's roots nobody is believed to be the control plane, and is shown the token.
    stranger = through_pipe("get", "services", *afar)
    assert stranger.code == 5
    assert "--ca-file" in stranger.err
    assert through_pipe("context", "set", "afar", *afar, "--ca-file", str(here.data / "roots.pem")).code == 0
    assert "checkout-of-the-whole-shop" in through_pipe("get", "services", "--context", "afar").out
    ident = re.search(r"token (\w+):", made.err)
    assert ident
    assert through_pipe("api-token", "revoke", ident[1]).code == 0
    assert through_pipe("get", "services", *trusted).code == 6


def test_a_stuck_proxy_is_named_by_who_waits(here: ControlPlane) -> None:
    (here.folder / "store.yaml").write_text(STORE)
    assert through_pipe("apply", "-f", "store.yaml").code == 0
    agent = here.sidecar("api-1", "api")
    end = time.monotonic() + PATIENCE
    while "in sync" not in (shown := through_pipe("status").out):
        assert time.monotonic() < end, shown
        time.sleep(0.1)
    assert "default/api-1" in through_pipe("top").out
    dumped = through_pipe("config-dump", "api-1")
    assert dumped.code == 0
    assert "PRIVATE" not in dumped.out
    envoys = [int(each) for each in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()]
    assert envoys
    for pid in envoys:
        os.kill(pid, signal.SIGSTOP)
    try:
        late = through_pipe("apply", "-f", "changed.yaml", "--wait=1s")
    finally:
        for pid in envoys:
            os.kill(pid, signal.SIGCONT)
    assert late.code == 7, late
    assert "default/api-1" in late.err
    assert through_pipe("wait", "--timeout", "30s").code == 0
