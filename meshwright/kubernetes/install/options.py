"""What an installation can be told."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, get_type_hints

import yaml

from mesh.names import SYSTEM_NAMESPACE
from meshwright.errors import SettingsError

NAME: Final = "meshwright"
"""Of the Deployment, its Service and ServiceAccount, the webhooks' configurations, the GatewayClass and the lease."""
AUTHORITY_SECRET: Final = "meshwright-authority"  # noqa: S105 - the name of one
BUNDLE: Final = "meshwright-bundle"
"""The ConfigMap that each injected namespace has."""

XDS, JOIN, ADMIN, API, WEBHOOKS = 15010, 15011, 15012, 15013, 15017


@dataclass(frozen=True, slots=True)
class InstallOptions:
    """The options of `--set`, by their names here in camelCase; the values of the Helm chart.

    `failure_policy`: what happens to a pod that is made while no control plane answers; `Fail` makes it wait, `Ignore` lets it run without a
    sidecar. `settings` are laid over the control plane's own (docs/settings.md).
    """

    namespace: str = SYSTEM_NAMESPACE
    image: str = "meshwright:dev"
    image_pull_policy: str = "IfNotPresent"
    replicas: int = 2
    trust_domain: str = "mesh.local"
    cluster_domain: str = "cluster.local"
    failure_policy: str = "Fail"
    validation_failure_policy: str = "Ignore"
    gateway_class: bool = True
    cpu_request: str = "100m"
    memory_request: str = "256Mi"
    memory_limit: str = "2Gi"
    log_level: str = "info"
    settings: dict[str, Any] = field(default_factory=dict)


def parse(given: list[str]) -> InstallOptions:
    """`name=value` pairs, the last one of a name wins; SettingsError names what is wrong.

    Values are YAML; `settings.<setting>=value` sets one setting of the control plane.
    """
    types = {camel(name): kind for name, kind in get_type_hints(InstallOptions).items()}
    python = {camel(each.name): each.name for each in fields(InstallOptions)}
    values: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals:
            raise SettingsError(f"--set {each}: is not name=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if name.startswith("settings."):
            _put(settings, name.removeprefix("settings.").split("."), value)
            continue
        if name == "settings" or name not in types:
            known = ", ".join(sorted(types.keys() - {"settings"}))
            raise SettingsError(
                f"--set {name}: there is no such option; there are {known}, settings.<setting>"
            )
        kind = types[name]
        if kind is str:
            value = text
        elif type(value) is not kind:
            raise SettingsError(f"--set {each}: the value must be of type {kind.__name__}")
        values[python[name]] = value
    return _checked(replace(InstallOptions(**values), settings=settings))


def _checked(options: InstallOptions) -> InstallOptions:
    for name in ("failure_policy", "validation_failure_policy"):
        if getattr(options, name) not in {"Fail", "Ignore"}:
            raise SettingsError(f"--set {camel(name)}: {getattr(options, name)!r} is neither Fail nor Ignore")
    if options.replicas < 1:
        raise SettingsError(f"--set replicas: {options.replicas}: one at least")
    return options


def _put(into: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        into = into.setdefault(part, {})
        if not isinstance(into, dict):
            raise SettingsError(f"--set settings.{'.'.join(path)}: {part} has a value of its own already")
    into[path[-1]] = value


def camel(name: str) -> str:
    """`trust_domain` as `trustDomain`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
