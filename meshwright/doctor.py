"""Is this machine right for a control plane or a sidecar? Each check says what it found, and the way out where that is not well.

They look and change nothing, but for a socket that is bound for a moment and a file of no bytes that is made and removed.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from envoy.environment import of_envoy
from envoy.errors import EnvoyError
from envoy.install import VERSION, find_envoy
from meshwright.data_dir import SOCKET
from store.errors import StoreError
from store.sqlite import look_at

State = Literal["ok", "warning", "failed"]

ROOM = 256 << 20
"""Bytes that should be free where the store and the authority's files are."""
STORE = "store.db"
"""The embedded store, in the data directory."""
SOON = timedelta(days=30)
FILES = 4096
"""Open files that a control plane of a thousand proxies needs."""
UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2): the kernel does not know of a clock that is being kept right."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy`: the way out; empty if all is well."""

    check: str
    state: State
    found: str
    remedy: str = ""


def machine(data_dir: Path | None, addresses: Mapping[str, str], *, running: bool) -> Iterator[Finding]:
    """All checks that need no control plane. `data_dir` None: the control plane is elsewhere. `addresses`: by setting, where one listens.

    `running`: a control plane runs here, so that its ports are taken.
    """
    yield envoy_binary(os.environ)
    yield clock()
    yield open_files()
    if data_dir is not None:
        yield from directory(data_dir)
        yield socket_path(data_dir)
        if not running and (data_dir / STORE).exists():
            yield store_file(data_dir / STORE)
        for setting, address in addresses.items():
            if not running:
                yield port(setting, address)


def envoy_binary(environment: Mapping[str, str]) -> Finding:
    """The binary that a sidecar would be, and whether its version is the one that is tested."""
    install = "run `meshwright envoy install`, or set ENVOY_BIN"
    try:
        binary = find_envoy(None, environment)
    except EnvoyError as error:
        return Finding("envoy", "failed", str(error), install)
    if binary is None:
        return Finding(
            "envoy", "warning", "there is none on this machine", f"{install}, if sidecars are to run here"
        )
    try:
        ran = subprocess.run(
            [str(binary), "--version"],
            check=False,
            capture_output=True,
            text=True,
            env=of_envoy(environment),
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("envoy", "failed", f"{binary} does not run: {error}", install)
    version = re.search(r"/(\d+\.\d+\.\d+)/", ran.stdout)
    if version is None:
        return Finding(
            "envoy", "failed", f"{binary} does not say its version: {ran.stderr.strip()[:200]}", install
        )
    found = f"{version[1]} at {binary}"
    if version[1].rpartition(".")[0] != VERSION.rpartition(".")[0]:
        return Finding("envoy", "warning", found, f"{VERSION} is what Meshwright is tested with: {install}")
    return Finding("envoy", "ok", found)


def clock() -> Finding:
    """Certificates are valid between two moments: a clock that is wrong makes good ones bad."""
    now = datetime.now(UTC)
    buffer = ctypes.create_string_buffer(512)  # struct timex, with room to spare; modes 0: only look
    state = ctypes.CDLL(None).adjtimex(buffer)
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if state == UNSYNCHRONISED:
        return Finding(
            "clock",
            "warning",
            f"{said}; the kernel knows of no time service that keeps it right",
            "run chrony, ntpd or systemd-timesyncd on this machine, or on the host of this container",
        )
    if state < 0:
        return Finding("clock", "ok", f"{said}; this container may not ask whether it is kept right")
    return Finding("clock", "ok", f"{said}, kept right by a time service")


def open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        return Finding(
            "open files",
            "warning",
            f"at most {soft} (hard limit {hard})",
            f"raise it to {FILES} or more (ulimit -n, LimitNOFILE=) for a control plane: each proxy takes one or two",
        )
    return Finding("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft}")


def directory(data_dir: Path) -> Iterator[Finding]:
    name = f"data directory {data_dir}"
    if not data_dir.is_dir():
        yield Finding(
            name, "failed", "it is not there", "name that of `meshwright serve` with --data-dir, or start it"
        )
        return
    status = data_dir.stat()
    mode = status.st_mode & 0o777
    if mode & 0o077:
        yield Finding(
            name,
            "failed",
            f"others may use it (mode {mode:04o}), and it holds the mesh's keys",
            f"chmod 700 {data_dir}",
        )
    elif status.st_uid != os.geteuid():
        yield Finding(
            name,
            "failed",
            f"it belongs to user {status.st_uid}, and you are {os.geteuid()}",
            "run as its owner (sudo -u), or use --server with a token",
        )
    else:
        yield _writable(name, data_dir, mode)
    yield _room(data_dir)


def _writable(name: str, data_dir: Path, mode: int) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        return Finding(
            name, "failed", f"it cannot be written: {error.strerror}", "make room, or mount it read-write"
        )
    return Finding(name, "ok", f"mode {mode:04o}, writable")


def _room(data_dir: Path) -> Finding:
    free = shutil.disk_usage(data_dir).free
    found = f"{free / 1e9:.1f} GB free"
    if free < ROOM:
        return Finding(
            "disk", "failed" if free < ROOM // 8 else "warning", found, f"make room on the disk of {data_dir}"
        )
    return Finding("disk", "ok", found)


def store_file(path: Path) -> Finding:
    """Whether the embedded store can be read, where no control plane runs that could say so."""
    try:
        head = look_at(path)
    except StoreError as error:
        said, _, remedy = str(error).partition(". ")
        return Finding("store", "failed", said, remedy or "see the manual's page of the store")
    return Finding("store", "ok", f"{path} is at revision {head.number}")


def socket_path(data_dir: Path) -> Finding:
    """The path of a Unix socket has room for 107 bytes (unix(7))."""
    length = len(os.fsencode(data_dir / SOCKET))
    if length > 107:
        return Finding(
            "socket",
            "failed",
            f"the path of {SOCKET} has {length} bytes; 107 is the most",
            "use a data directory with a shorter path",
        )
    return Finding("socket", "ok", f"{length} of 107 bytes")


def port(setting: str, address: str) -> Finding:
    """Whether it could be listened on now."""
    host, _, number = address.rpartition(":")
    name = f"port {address}"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(number)))
    except OSError as error:
        return Finding(
            name,
            "failed",
            f"{setting} cannot listen there: {error.strerror}",
            f"end what uses it (ss -ltnp), or set {setting}",
        )
    return Finding(name, "ok", f"free for {setting}")


def certificates(ends: Mapping[str, str], now: datetime) -> Iterator[Finding]:
    """`ends`: by what they are of, when the first certificate ends (ISO 8601), as `status` has it."""
    for kind, text in ends.items():
        when = datetime.fromisoformat(text)
        left = when - now
        name, said = f"certificate: {kind}", f"the first ends {when:%Y-%m-%d %H:%M} UTC"
        if left <= timedelta(0):
            yield Finding(
                name, "failed", f"{said}, which is past", "see `meshwright ca status` and the clocks"
            )
        elif "root" in kind and left < SOON:
            yield Finding(name, "warning", said, "run `meshwright ca rotate`")
        else:
            yield Finding(name, "ok", said)
