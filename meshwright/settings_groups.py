"""The groups of settings that `meshwright.settings.Settings` nests, and the types of single settings that they share."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_settings import NoDecode

from ca.web import check_url
from documents.durations import parse
from mesh.identity import TRUST_DOMAIN
from meshwright.errors import SettingsError


def _address(text: str) -> str:
    """`HOST:PORT`; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("is not HOST:PORT, for example 0.0.0.0:15010 or [::]:15010")
    return text


def loopback(text: str) -> str:
    host = _address(text).rpartition(":")[0].strip("[]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise ValueError("must be a loopback address: it is served without TLS")
    return text


def _split(value: object) -> object:
    """A list, or text with commas, as the environment has it."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _lasting(given: Any, read: ValidatorFunctionWrapHandler) -> timedelta:
    """`24h`, `90s` or `7d`, as options and documents have it, and all that pydantic takes: seconds, `P1D`, `1 day, 0:00:00`."""
    if isinstance(given, str):
        days = given.removesuffix("d")
        if days != given and days.isdecimal() and len(days) <= 5:
            return timedelta(days=int(days))
        try:
            return parse(given)
        except ValueError:
            pass  # another form of it
    try:
        made: timedelta = read(given)
    except ValidationError as error:
        raise ValueError(f"{given!r} is not a duration: use for example 90s, 30m, 24h or 7d") from error
    return made


Lifetime = Annotated[timedelta, WrapValidator(_lasting)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
TrustDomainNames = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=f"^{TRUST_DOMAIN.pattern}$")], ...],
    NoDecode,
    BeforeValidator(_split),
]
Address = Annotated[str, AfterValidator(_address)]
LoopbackAddress = Annotated[str, AfterValidator(loopback)]


class ConsulSettings(BaseModel):
    """A Consul datacenter to discover services in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[
        str, Field(description="Where Consul's HTTP API answers.", examples=["http://127.0.0.1:8500"])
    ]
    name: Annotated[str, Field(description="What the source is called in status, metrics and logs.")] = (
        "consul"
    )
    datacenter: Annotated[str | None, Field(description="The datacenter; the agent's own when unset.")] = None
    token: Annotated[SecretStr | None, Field(description="An ACL token with service:read and node:read.")] = (
        None
    )
    token_file: Annotated[Path | None, Field(description="A file that holds the ACL token.")] = None
    ca_file: Annotated[
        Path | None, Field(description="The CA bundle that Consul's certificate is verified with.")
    ] = None
    cert_file: Annotated[Path | None, Field(description="A client certificate for Consul.")] = None
    key_file: Annotated[Path | None, Field(description="The client certificate's key.")] = None

    join_namespaces: Annotated[
        Names,
        Field(
            description="Namespaces where a Consul ACL token with the service identity of a workload's service lets its proxy "
            "join. None unless set."
        ),
    ] = ()

    @model_validator(mode="after")
    def _one_token(self) -> ConsulSettings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("set token or token_file, not both")
        return self

    def acl_token(self) -> str | None:
        """The token, read from its file if it has one."""
        if self.token_file is not None:
            try:
                return self.token_file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(
                    f"setting consul.token_file (--consul-token-file): {self.token_file} cannot be read: {error}"
                ) from error
        return self.token.get_secret_value() if self.token else None


class SubjectSettings(BaseModel):
    """Who the subjects of an issuer are in the mesh: see `ca.proof_jwt.Subjects`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[
        str, Field(description="The claim `sub`, with {namespace} and {serviceAccount} where these stand.")
    ]
    namespace: Annotated[str | None, Field(description="The namespace, where the subject has none.")] = None
    service_account: Annotated[
        str | None, Field(description="The service account, where the subject has none.")
    ] = None
    workload_claim: Annotated[
        str | None,
        Field(description="The claim that names the workload, with slashes: kubernetes.io/pod/name."),
    ] = None

    @model_validator(mode="after")
    def _whole(self) -> SubjectSettings:
        for name, said in (("namespace", self.namespace), ("serviceAccount", self.service_account)):
            if (said is None) != (self.subject.count(f"{{{name}}}") == 1):
                raise ValueError(f"subject must have {{{name}}} once, or a setting must say it, and not both")
        return self


class IssuerSettings(BaseModel):
    """An issuer of JSON Web Tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Annotated[str, Field(description="The claim `iss`.", min_length=1)]
    audiences: Annotated[Names, Field(description="A token must be meant for one of these.", min_length=1)]
    subjects: Annotated[tuple[SubjectSettings, ...], Field(description="Who its subjects are.", min_length=1)]
    jwks_url: Annotated[
        Annotated[str, AfterValidator(check_url)] | None,
        Field(description="Where its keys are; by OpenID discovery at the issuer when neither is set."),
    ] = None
    jwks_file: Annotated[Path | None, Field(description="A file of its keys.")] = None
    ca_file: Annotated[
        Path | None,
        Field(description="Vouches for the server of the keys; the system's authorities if unset."),
    ] = None
    token_file: Annotated[
        Path | None, Field(description="A bearer token for that server, as a Kubernetes API server wants.")
    ] = None

    @model_validator(mode="after")
    def _one_place(self) -> IssuerSettings:
        if self.jwks_url is not None and self.jwks_file is not None:
            raise ValueError("set jwks_url or jwks_file, not both")
        if self.jwks_url is None and self.jwks_file is None:
            check_url(self.issuer)
        return self


class CaFilesSettings(BaseModel):
    """An intermediate that somebody else's root has signed: see `ca.from_files`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chain: Annotated[Path, Field(description="The intermediate, then what stands between it and its root.")]
    key: Annotated[Path, Field(description="The intermediate's key, 0600.")]
    roots: Annotated[Path, Field(description="The trust bundle.")]


class VaultSettings(BaseModel):
    """HashiCorp Vault's PKI engine: see `ca.vault`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, AfterValidator(check_url), Field(description="Vault's URL.")]
    role: Annotated[str, Field(description="The role of the PKI engine that signs.", pattern=r"^[\w.-]+$")]
    token_file: Annotated[
        Path, Field(description="A file (0600) that holds a Vault token; read for each request.")
    ]
    mount: Annotated[str, Field(description="Where the PKI engine is.", pattern=r"^[\w./-]+$")] = "pki"
    namespace: Annotated[str, Field(description="Vault's namespace (Enterprise).")] = ""
    ca_file: Annotated[Path | None, Field(description="Vouches for Vault's own certificate.")] = None
    roots_file: Annotated[
        Path | None, Field(description="The trust bundle, where Vault knows no root of its own.")
    ] = None
