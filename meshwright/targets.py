"""Which control plane a command talks to: the one of this machine, by its data directory, or one over HTTPS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from meshwright.data_dir import SOCKET

DEFAULT_DATA_DIR = Path("meshwright-data")


@dataclass(frozen=True, slots=True)
class OnThisMachine:
    """By the Unix socket in its data directory. No login: who may open the socket is its owner."""

    data_dir: Path

    def __str__(self) -> str:
        return str(self.data_dir / SOCKET)


@dataclass(frozen=True, slots=True)
class OverHttps:
    """`url` without a path. `ca_file`: whom to believe, the system's authorities if None. `token_file` holds an API token;
    `certificate_file` and `key_file` are a client certificate.
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __str__(self) -> str:
        return self.url


Target: TypeAlias = OnThisMachine | OverHttps
