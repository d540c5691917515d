"""How to reach Consul, and which of its services belong to the mesh."""

from __future__ import annotations

import ssl
import urllib.parse
from dataclasses import dataclass, field
from typing import Literal

from discovery.errors import BadOptions

Consistency = Literal["default", "consistent", "stale"]


@dataclass(frozen=True, slots=True)
class ConsulOptions:
    """Times are seconds, sizes bytes.

    `consistency` is Consul's mode of reads (https://developer.hashicorp.com/consul/api-docs/features/consistency);
    `stale` holds for the long polls only, since an instance read from a follower that lags would miss the change
    that caused the read. `wait` is the length of a long poll. `only_meta` and `only_tag` leave out the instances
    that lack that meta pair or tag.
    """

    address: str = "http://127.0.0.1:8500"
    token: str = field(default="", repr=False)
    datacenter: str = ""
    consistency: Consistency = "default"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    server_name: str | None = None
    wait: float = 60.0
    timeout: float = 10.0
    max_answer: int = 64 * 1024 * 1024
    only_meta: tuple[str, str] | None = None
    only_tag: str | None = None

    def __post_init__(self) -> None:
        self.endpoint()
        if not 1 <= self.wait <= 600:
            raise BadOptions(f"Consul wait {self.wait} s is out of range: use 1 to 600 seconds")
        if self.cert_file is None and self.key_file is not None:
            raise BadOptions("Consul key file without a certificate file: give both or neither")

    def endpoint(self) -> tuple[str, str, int]:
        """Scheme, host (IPv6 in brackets) and port of `address`."""
        parts = urllib.parse.urlsplit(self.address)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or "@" in parts.netloc:
            raise BadOptions(
                f"Consul address {_without_user(self.address)!r} is not http(s)://host[:port]: "
                "e.g. http://127.0.0.1:8500"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return parts.scheme, host, port or (8501 if parts.scheme == "https" else 8500)

    def tls(self) -> ssl.SSLContext:
        """The context for https, read from the files now; BadOptions if one cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(f for f in (self.ca_file, self.cert_file, self.key_file) if f)
            raise BadOptions(f"cannot read the Consul TLS files {files}: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _without_user(address: str) -> str:
    """`address` without user information, which may be a secret."""
    return address.rsplit("@", 1)[-1]
