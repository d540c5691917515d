"""The cluster of the rows of Kubernetes: an API server without a node on this machine, and Meshwright's account there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from bench.api_load import Counters, parse
from bench.build import ROOT
from bench.processes import BenchError

SCRIPT: Final = ROOT / "scripts" / "kubernetes" / "cluster.sh"
DEFINITIONS: Final = ROOT / "deploy" / "kubernetes" / "crds"
NUMBER: Final = "4"
NAMESPACE: Final = "default"
ACCOUNT: Final = "default"


@dataclass(frozen=True, slots=True)
class BenchCluster:
    """`kubeconfig` is its administrator's."""

    kubeconfig: pathlib.Path

    def kubectl(self, *arguments: str) -> str:
        """What it printed; BenchError if it failed."""
        program = self.kubeconfig.parents[2] / "bin" / "kubectl"
        return _ran(str(program), f"--kubeconfig={self.kubeconfig}", *arguments)

    def prepare(self) -> None:
        """Our kinds are there, as in every installation, and the account may read all."""
        self.kubectl("apply", "--server-side", f"--filename={DEFINITIONS}")
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"--filename={DEFINITIONS}")
        with contextlib.suppress(BenchError):  # of a run before
            self.kubectl("delete", "clusterrolebinding", "bench", "--ignore-not-found")
        self.kubectl(
            "create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin",
            f"--serviceaccount={NAMESPACE}:{ACCOUNT}",
        )  # fmt: skip

    def account(self, folder: pathlib.Path) -> pathlib.Path:
        """A kubeconfig in `folder`, of the account: its requests are counted by themselves (`bench.api_load.FLOW`)."""
        made = yaml.safe_load(self.kubeconfig.read_text())
        token = self.kubectl("--namespace", NAMESPACE, "create", "token", ACCOUNT).strip()
        made["users"][0]["user"] = {"token": token}
        path = folder / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(made))
        return path

    def counters(self) -> Counters:
        """By now. The API server takes a moment of a core for them."""
        return parse(self.kubectl("get", "--raw", "/metrics"))


@contextlib.contextmanager
def a_cluster() -> Iterator[BenchCluster]:
    """Ended after the block, however that ends."""
    environment = {**os.environ, "N": NUMBER, "NO_NODE": "1"}
    try:
        started = _ran(str(SCRIPT), "up", environment=environment)
        cluster = BenchCluster(pathlib.Path(started.strip().splitlines()[-1]))
        cluster.prepare()
        yield cluster
    finally:
        _ran(str(SCRIPT), "down", environment=environment)


def available() -> bool:
    """Whether a cluster can be started here without building it first, which takes ten minutes."""
    home = pathlib.Path(os.environ.get("MESHWRIGHT_CACHE", pathlib.Path.home() / ".cache" / "meshwright"))
    return os.geteuid() == 0 and any((home / "kubernetes").glob("*/bin/kube-apiserver"))


def _ran(*command: str, environment: dict[str, str] | None = None) -> str:
    ran = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise BenchError(f"{' '.join(command)} exited with {ran.returncode}: {ran.stderr[-2000:]}")
    return ran.stdout
