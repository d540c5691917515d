"""Where an API server is and who we are there: from a kubeconfig, or from the service account of our own pod.

`kubernetes_asyncio` reads both, runs credential plugins and follows tokens that are replaced. It takes half a second and 40 MB
to import, so it is imported only when a cluster is connected to, and off the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kube.errors import BadCluster

TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105
CA_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
RENEW_EVERY = 60.0
"""Seconds after which credentials are looked at again: the kubelet replaces tokens long before they expire."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster. `name` is for people and for the names of sources. Without `kubeconfig` (a path, or several with `:`) it is the
    cluster in which this process runs; `context` is one of the kubeconfig's, its current one by default. Seconds and bytes.
    """

    name: str = "kubernetes"
    kubeconfig: str | None = None
    context: str | None = None
    timeout: float = 30.0
    max_answer: int = 128 * 1024 * 1024

    @property
    def described(self) -> str:
        """For people."""
        if self.kubeconfig is None:
            return "the cluster of this pod"
        return f"kubeconfig {self.kubeconfig}" + (f", context {self.context}" if self.context else "")


class Access:
    """Made by `open_access`. `clock` gives seconds and never goes back."""

    def __init__(
        self, options: ClusterOptions, configuration: Any, loader: Any, clock: Callable[[], float]
    ) -> None:
        self._options = options
        self._configuration = configuration
        self._loader = loader
        self._clock = clock
        self._read = clock()
        self._lock = asyncio.Lock()

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return str(self._configuration.host).rstrip("/")

    @property
    def server_name(self) -> str | None:
        """The name that the server's certificate must have, if it is not the one in `url`."""
        return self._configuration.tls_server_name or None

    @property
    def proxy(self) -> str | None:
        """An HTTP proxy, where the kubeconfig says one (`proxy-url`). The environment's are not asked."""
        return self._configuration.proxy or None

    def tls(self) -> ssl.SSLContext:
        """Reads files, once for each connection pool: a client certificate or an authority that is replaced is taken with the next start.
        BadCluster if one of them cannot be used.
        """
        configuration = self._configuration
        try:
            context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
            if configuration.cert_file:
                context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        except (OSError, ssl.SSLError) as error:
            raise BadCluster(
                f"cluster {self._options.name}: the certificates of {self._options.described} cannot be read: {error}"
            ) from error
        # Python's newer default refuses authorities without key identifiers, which many clusters have and every other client takes.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def authorization(self) -> str | None:
        """The value of the header `Authorization`, or None where a client certificate says who we are."""
        if self._clock() - self._read >= RENEW_EVERY:
            await self.renew()
        value = await self._configuration.get_api_key_with_prefix("BearerToken")
        return str(value) if value else None

    async def renew(self) -> None:
        """Read the tokens again, for they are old or were refused; not certificates (`tls`). BadCluster if they cannot be read."""
        async with self._lock:
            self._read = self._clock()
            if self._loader is not None:
                with _told(self._options):
                    await self._loader.load_and_set(self._configuration)


async def open_access(options: ClusterOptions, clock: Callable[[], float]) -> Access:
    """BadCluster, with the way out, if there is no such configuration."""
    config: Any = await asyncio.to_thread(importlib.import_module, "kubernetes_asyncio.config")
    client: Any = importlib.import_module("kubernetes_asyncio.client")
    configuration = client.Configuration()
    loader: Any = None
    with _told(options):
        if options.kubeconfig is None:
            config.load_incluster_config(configuration, token_filename=TOKEN_FILE, cert_filename=CA_FILE)
        else:
            loader = await config.load_kube_config(
                config_file=options.kubeconfig,
                context=options.context,
                client_configuration=configuration,
                persist_config=False,
            )
    return Access(options, configuration, loader, clock)


@contextlib.contextmanager
def _told(options: ClusterOptions) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001
        # The library raises ConfigException, OSError, YAML's and type errors alike; each means that the configuration is of no use.
        way_out = (
            "run it in a pod with a service account, or set kubeconfig"
            if options.kubeconfig is None
            else "check that the file is there, is a kubeconfig, and has that context"
        )
        # What the library says after " in " may quote a part of the kubeconfig, with its tokens.
        reason = str(error).partition(" in ")[0][:200]
        raise BadCluster(
            f"cluster {options.name}: {options.described} cannot be used: {type(error).__name__}: {reason}: {way_out}"
        ) from None
