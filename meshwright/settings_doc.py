"""docs/settings.md, made from the one list of settings. `make settings-doc` writes it; a test holds it to the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from documents.durations import show
from meshwright.settings import ENV_PREFIX, Settings
from meshwright.settings_groups import ConsulSettings
from meshwright.settings_injection import InjectionSettings
from meshwright.settings_kubernetes import KubernetesSettings

HEAD = """\
# Settings of `meshwright serve`

Made from the code by `make settings-doc`. A setting is taken from its option, else from its environment variable, else from the
YAML file that `--config` names, else it has its default. Lists are given by repeating the option, with commas in the environment,
and as lists in the file. An unknown setting in the file is an error.

| setting | option | environment | default | what it is |
|---|---|---|---|---|
"""

OPTIONS = {
    "server_names": "--server-name",
    "trust_domain_aliases": "--trust-domain-alias",
    "consul.url": "--consul-url",
    "consul.datacenter": "--consul-datacenter",
    "consul.token_file": "--consul-token-file",
    "consul.ca_file": "--consul-ca-file",
}
FILE_ONLY = {
    "merge_services", "merge_namespaces", "quiet", "quiet_max", "hold", "ack_timeout", "first_configurations",
    "api_tls", "api_certificate_file", "api_key_file", "api_clients", "api_requests", "store_history", "store_token_file", "store_ca_file", "store_cert_file", "store_key_file",
    "federation", "federation_refresh", "ca_files", "vault", "ca_key", "ca_passphrase", "ca_passphrase_file", "ca_passphrase_command", "certificate_key", "join_issuers", "join_attempts", "consul.join_namespaces", "consul.name", "consul.token", "consul.cert_file", "consul.key_file",
}  # fmt: skip
"""Settings that no option sets; nor does one set any of `kubernetes`."""
GROUPS: dict[str, type[BaseModel]] = {
    "consul": ConsulSettings,
    "kubernetes": KubernetesSettings,
    "kubernetes.injection": InjectionSettings,
}


def table() -> str:
    return HEAD + "".join(_rows(Settings, ""))


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        full = prefix + name
        if full in GROUPS:
            yield from _rows(GROUPS[full], f"{full}.")
            continue
        option = (
            ""
            if full in FILE_ONLY or full.startswith("kubernetes.")
            else f"`{OPTIONS.get(full, '--' + full.replace('_', '-'))}`"
        )
        variable = ENV_PREFIX + full.upper().replace(".", "__")
        yield f"| `{full}` | {option} | `{variable}` | {_default(field)} | {field.description} |\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required with Consul"
    if value is None or value == ():
        return ""
    return f"`{show(value) if isinstance(value, timedelta) else value}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table())
