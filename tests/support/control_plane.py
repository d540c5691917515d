"""A control plane of its own process, for tests that are no coroutines: those that drive the command line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from meshwright.data_dir import SOCKET
from tests.support import binaries
from tests.support.mesh import LOOPBACK
from tests.support.ports import free_port
from tests.support.processes import PATIENCE, meshwright


def until(condition: Callable[[], bool], what: str, log: Path) -> None:
    """Wait for `condition`; the end of `log` is shown if it does not come."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} s\n{log.read_text()[-3000:]}"
        time.sleep(0.02)


class ControlPlane:
    """`folder` holds the data directory `data`, and the logs of what is started. Everything ends with the block of `serving`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.xds, self.join, self.api = free_port(), free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def serve(self, *options: str) -> None:
        addresses = (
            "--api-address",
            f"{LOOPBACK}:{self.api}",
            "--xds-address",
            f"{LOOPBACK}:{self.xds}",
            "--join-address",
            f"{LOOPBACK}:{self.join}",
        )
        log = self.start(
            "control-plane",
            *(
                "serve",
                "--data-dir",
                str(self.data),
                *addresses,
                "--admin-address",
                f"{LOOPBACK}:{free_port()}",
                "--api-address",
                f"{LOOPBACK}:{self.api}",
            ),
            *options,
        )
        server = self._processes[-1]
        until(
            lambda: (self.data / SOCKET).exists() or server.poll() is not None,
            "the control plane listens",
            log,
        )
        assert server.poll() is None, f"the control plane has ended\n{log.read_text()[-3000:]}"

    def sidecar(self, workload: str, account: str, **options: str) -> subprocess.Popen[bytes]:
        """Join, and run Envoy. Whoever needs it to be connected waits for that."""
        token = subprocess.run(
            meshwright("token", "create", "--data-dir", str(self.data), "--service-account", account),
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        file = self.folder / f"{workload}.token"
        file.touch(mode=0o600)
        file.write_text(token)
        self.start(
            workload,
            *(
                "proxy",
                "--workload",
                f"default/{workload}",
                "--data-dir",
                str(self.folder / f"{workload}-agent"),
            ),
            *("--control-plane", f"{LOOPBACK}:{self.xds}", "--join", f"{LOOPBACK}:{self.join}"),
            *("--bundle", str(self.data / "roots.pem"), "--token-file", str(file), "--drain-time", "1s"),
            *(
                "--envoy",
                binaries.envoy(),
                *(part for name, value in options.items() for part in (f"--{name}", value)),
            ),
        )
        return self._processes[-1]

    def start(self, name: str, *command: str) -> Path:
        """Its log."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            self._processes.append(
                subprocess.Popen(
                    meshwright(*command), stdout=out, stderr=subprocess.STDOUT, env=dict(os.environ)
                )
            )
        return log

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[ControlPlane]:
    made = ControlPlane(folder)
    try:
        made.serve(*options)
        yield made
    finally:
        made.stop()
