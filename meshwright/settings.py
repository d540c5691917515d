"""The settings of `meshwright serve`: from options, the environment (MESHWRIGHT_…) and a file, in that order.

One model is the only list of settings: the options of the command line and docs/settings.md are made from it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from api.roles import grant
from ca.keys import KeyType
from mesh.errors import InvalidName
from mesh.identity import TRUST_DOMAIN, Identity
from meshwright.errors import SettingsError
from meshwright.settings_groups import (
    Address,
    CaFilesSettings,
    ConsulSettings,
    IssuerSettings,
    Lifetime,
    LoopbackAddress,
    Names,
    TrustDomainNames,
    VaultSettings,
    loopback,
)
from meshwright.settings_injection import InjectionSettings
from meshwright.settings_kubernetes import KubernetesSettings

ENV_PREFIX = "MESHWRIGHT_"
PROXY_VARIABLES = frozenset(
    ENV_PREFIX + name
    for name in ("WORKLOAD", "PROXY_DATA_DIR", "CONTROL_PLANE", "JOIN", "BUNDLE", "TOKEN", "TOKEN_FILE", "PROOF", "KEY_TYPE", "KEYS", "PROXY_ADMIN_PORT", "PROXY_ADMIN_SOCKET",
                 "DRAIN_TIME", "ENVOY_ENV", "CLUSTER", "LEAVE_PATIENCE", "AGENT_PORT", "APP_CHECKS", "POD_IP", "CACHE", "REWRITE_GOLDENS")
)  # fmt: skip
"""Variables of `meshwright proxy` and of the scripts, which are no settings of the control plane."""


class Settings(BaseSettings):
    """Everything that `meshwright serve` can be told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    data_dir: Annotated[
        Path,
        Field(description="Where the authority's keys, join tokens and the last good state are kept (0700)."),
    ] = Path("meshwright-data")
    trust_domain: Annotated[
        str, Field(description="The trust domain of every SPIFFE id.", pattern=f"^{TRUST_DOMAIN.pattern}$")
    ] = "mesh.local"
    trust_domain_aliases: Annotated[
        TrustDomainNames,
        Field(
            description="Trust domains whose identities, signed by this mesh's own authority, are the same workloads: while a mesh moves from "
            "one to another (docs/security.md)."
        ),
    ] = ()
    documents: Annotated[
        Path | None, Field(description="A directory of YAML documents, read recursively and watched.")
    ] = None
    store: Annotated[
        str,
        Field(
            description="Where documents that are written through the API are kept: `sqlite` (in the data directory), `sqlite:FILE`, `consul` (as "
            "`consul.url`) or `consul:URL/PREFIX` for several replicas, or `none`: docs/store.md.",
            pattern=r"^(sqlite(:.+)?|consul(:https?://.+)?|none)$",
        ),
    ] = "sqlite"
    store_history: Annotated[
        int | None, Field(description="How many revisions the store keeps; all when unset.", ge=1)
    ] = None
    store_token_file: Annotated[
        Path | None,
        Field(
            description="A file that holds the ACL token for the store in Consul; as for discovery if it is the same Consul."
        ),
    ] = None
    store_ca_file: Annotated[
        Path | None, Field(description="The CA bundle that the store's Consul is verified with.")
    ] = None
    store_cert_file: Annotated[Path | None, Field(description="A client certificate for it.")] = None
    store_key_file: Annotated[Path | None, Field(description="That certificate's key.")] = None
    consul: Annotated[
        ConsulSettings | None, Field(description="A Consul datacenter to discover services in.")
    ] = None
    kubernetes: Annotated[
        KubernetesSettings | None,
        Field(description="A Kubernetes cluster to discover services in, and to read documents from."),
    ] = None
    merge_services: Annotated[
        Names,
        Field(description="Services (namespace/name) that are one although several sources declare them."),
    ] = ()
    merge_namespaces: Annotated[
        Names, Field(description="Namespaces whose services are merged over sources.")
    ] = ()
    xds_address: Annotated[
        Address, Field(description="Where proxies connect for xDS and renew certificates: mutual TLS.")
    ] = "127.0.0.1:15010"
    join_address: Annotated[
        Address, Field(description="Where proxies join with a proof: server-side TLS.")
    ] = "127.0.0.1:15011"
    plaintext_address: Annotated[
        LoopbackAddress | None,
        Field(description="xDS without TLS, on loopback only. Off unless set; its clients get no keys."),
    ] = None
    admin_address: Annotated[
        Address,
        Field(
            description="HTTP for /metrics, /healthz, /readyz and /spiffe-bundle. It answers nothing else."
        ),
    ] = "127.0.0.1:15012"
    server_names: Annotated[
        Names,
        Field(
            description="DNS names and IP addresses of this server, for its certificate; localhost is always in."
        ),
    ] = ()
    federation: Annotated[
        Path | None,
        Field(
            description="A file that lists the foreign trust domains whose callers are let in, read again when it changes: docs/security.md."
        ),
    ] = None
    federation_refresh: Annotated[
        int,
        Field(
            description="Seconds after which others are to ask for this mesh's trust bundle again. With `federation`, a new root waits twice as "
            "long before it signs.",
            ge=1,
        ),
    ] = 300
    certificate_lifetime: Annotated[
        Lifetime,
        Field(
            description="Life of a workload's certificate; renewed at half of it, with jitter.",
            gt=timedelta(0),
        ),
    ] = timedelta(hours=24)
    ca_files: Annotated[
        CaFilesSettings | None,
        Field(
            description="Sign by an intermediate from files (`chain`, `key`, `roots`) instead of the built-in authority."
        ),
    ] = None
    vault: Annotated[
        VaultSettings | None,
        Field(description="Sign by HashiCorp Vault's PKI engine instead: docs/security.md."),
    ] = None
    ca_key: Annotated[
        KeyType, Field(description="The kind of key of a root or an intermediate that is made from now on.")
    ] = KeyType.ECDSA_P256
    api_address: Annotated[
        Address, Field(description="Where the REST API listens, besides the socket in the data directory.")
    ] = "127.0.0.1:15013"
    api_tls: Annotated[
        bool, Field(description="Whether it speaks TLS there. It must, but for a loopback address.")
    ] = True
    api_certificate_file: Annotated[
        Path | None,
        Field(
            description="The certificate that it shows (PEM, with its chain); one of the mesh's if unset. Read again when it changes."
        ),
    ] = None
    api_key_file: Annotated[Path | None, Field(description="The key of that certificate.")] = None
    api_clients: Annotated[
        dict[str, str],
        Field(
            description="What holders of certificates of the mesh may do there, by SPIFFE id: viewer, editor or admin, "
            "everywhere, or in some namespaces alone: editor:shop,blog."
        ),
    ] = {}
    api_requests: Annotated[
        float,
        Field(
            description="Requests a second that one caller may make there; five times as many at once.", gt=0
        ),
    ] = 100.0
    ca_passphrase: Annotated[
        SecretStr | None,
        Field(
            description="Encrypts the keys of the authority on the disk. Only from the environment or a file."
        ),
    ] = None
    ca_passphrase_file: Annotated[
        Path | None, Field(description="A file (0600) that holds that passphrase.")
    ] = None
    ca_passphrase_command: Annotated[
        tuple[str, ...],
        Field(description="A command and its arguments that print that passphrase, run once at the start."),
    ] = ()
    certificate_key: Annotated[
        KeyType,
        Field(
            description="The kind of key of workloads whose certificates come by SDS; agents choose theirs (`--key-type`)."
        ),
    ] = KeyType.ECDSA_P256
    quiet: Annotated[
        float,
        Field(
            description="Seconds without a further change before a change is sent; removals never wait.", ge=0
        ),
    ] = 0.005
    quiet_max: Annotated[
        float, Field(description="Seconds that a change waits at most while others keep coming.", ge=0)
    ] = 0.1
    hold: Annotated[
        float, Field(description="Seconds that a suspicious mass removal is held at most.", ge=0)
    ] = 600.0
    ack_timeout: Annotated[
        float,
        Field(description="Seconds that an update waits for a proxy's ACK of the step before it.", gt=0),
    ] = 20.0
    first_configurations: Annotated[
        int,
        Field(description="How many proxies may receive their first configuration at the same time.", ge=1),
    ] = 32
    join_issuers: Annotated[
        tuple[IssuerSettings, ...],
        Field(description="Issuers whose JSON Web Tokens let proxies join: docs/security.md."),
    ] = ()
    join_attempts: Annotated[
        int,
        Field(
            description="Attempts to join in vain that one address may make at once; it gets another each second. Ten times as "
            "many in all.",
            ge=1,
        ),
    ] = 20
    ratelimit_redis: Annotated[
        SecretStr | None,
        Field(
            description="Where requests of RateLimit policies are counted for all replicas: redis://[user:password@]host:port/db. "
            "In the memory of this process when unset: each replica would count by itself."
        ),
    ] = None
    clusters: Annotated[
        Literal["all", "onDemand"],
        Field(
            description="What proxies are given of the services that they may call, where their workloads say nothing: all clusters, "
            "or the cluster of each when a request needs it first."
        ),
    ] = "all"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="What is logged.")
    ] = "info"
    log_format: Annotated[Literal["json", "console"], Field(description="How it is logged.")] = "json"

    @model_validator(mode="after")
    def _is_whole(self) -> Settings:
        given = (self.ca_passphrase, self.ca_passphrase_file, self.ca_passphrase_command or None)
        if sum(each is not None for each in given) > 1:
            raise ValueError("set one of ca_passphrase, ca_passphrase_file and ca_passphrase_command")
        if len({self.trust_domain, *self.trust_domain_aliases}) <= len(self.trust_domain_aliases):
            raise ValueError("trust_domain_aliases are others than trust_domain, each of them once")
        if self.ca_files is not None and self.vault is not None:
            raise ValueError("set ca_files or vault, not both: there is one authority")
        if not self.api_tls:
            loopback(self.api_address)
        if (self.api_certificate_file is None) != (self.api_key_file is None):
            raise ValueError("set api_certificate_file and api_key_file both, or neither")
        for uri, said in self.api_clients.items():
            try:
                Identity.parse(uri)
                grant(said)
            except (InvalidName, ValueError) as error:
                raise ValueError(f"api_clients: {error}") from error
        if (
            self.documents is None
            and self.consul is None
            and self.kubernetes is None
            and self.store == "none"
        ):
            raise ValueError(
                "no source of services: set documents (a directory), consul.url, kubernetes or store"
            )
        shared = self.kubernetes is not None and self.kubernetes.authority_secret is not None
        if shared and (self.ca_files is not None or self.vault is not None):
            raise ValueError(
                "set kubernetes.authority_secret, ca_files or vault, one of them: there is one authority"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` has put together: it reads the environment itself, between the file and the options."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load(file: Path | None, options: dict[str, Any]) -> Settings:
    """The settings: `options` (None left out) over the environment over `file`; SettingsError names what is wrong."""
    from_file: dict[str, Any] = {}
    if file is not None:
        try:
            read = yaml.safe_load(file.read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read settings from {file}: {error}") from error
        if not isinstance(read, dict | None):
            raise SettingsError(f"{file}: settings are a mapping, not a {type(read).__name__}")
        from_file = read or {}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings.model_validate(_merged(_merged(from_file, EnvSettingsSource(Settings)()), given))
    except ValidationError as error:
        raise SettingsError(_explained(error, file, from_file)) from error


def check(given: dict[str, Any]) -> None:
    """SettingsError, with a line for each thing that is wrong, unless `given` alone are settings: of a control plane elsewhere."""
    try:
        Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(_explained(error, None, {}, elsewhere=True)) from error


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`, mapping by mapping."""
    result = dict(under)
    for name, value in over.items():
        below = result.get(name)
        result[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _explained(
    error: ValidationError, file: Path | None, from_file: dict[str, Any], *, elsewhere: bool = False
) -> str:
    """A line for each thing that is wrong: the setting, where it was given (unless `elsewhere`), what would be right."""
    lines = []
    for each in error.errors(include_url=False, include_input=False):
        parts = [str(part) for part in each["loc"]]
        name = ".".join(parts)
        by = "" if elsewhere else f"{_given_by(parts, file, from_file)}: "
        if not name:
            lines.append(each["msg"].removeprefix("Value error, "))
        elif each["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, known(), n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists them all"
            lines.append(f"{by}unknown setting {name}: {hint}")
        else:
            lines.append(f"{by}setting {name}: {each['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def known() -> tuple[str, ...]:
    """The names of all settings."""
    return (
        *(name for name in Settings.model_fields if name not in {"consul", "kubernetes"}),
        *(f"consul.{name}" for name in ConsulSettings.model_fields),
        *(f"kubernetes.{name}" for name in KubernetesSettings.model_fields),
        *(f"kubernetes.injection.{name}" for name in InjectionSettings.model_fields),
    )


def _given_by(parts: list[str], file: Path | None, from_file: dict[str, Any]) -> str:
    """Where a setting came from: the environment wins over the file."""
    variable = ENV_PREFIX + "__".join(parts).upper()
    if variable in os.environ:
        return f"environment variable {variable}"
    at: Any = from_file
    for part in parts:
        at = at.get(part) if isinstance(at, dict) else None
    return f"file {file}" if at is not None else "options"


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Variables that look like settings and are none."""
    ours = {ENV_PREFIX + name.upper().replace(".", "__") for name in known()} | PROXY_VARIABLES
    return sorted(name for name in environment if name.startswith(ENV_PREFIX) and name not in ours)
