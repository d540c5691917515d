"""What a Gateway's `infrastructure.parametersRef`, or that of its class, may say: the data of a ConfigMap. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from inject.options import Resources
from meshwright.kubernetes.gateway_manifests import GatewayOptions

TYPES: Final = ("LoadBalancer", "NodePort", "ClusterIP")
_QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi)?")
_RESOURCES: Final = {
    "cpu": "cpu",
    "memory": "memory",
    "cpuLimit": "cpu_limit",
    "memoryLimit": "memory_limit",
}
KNOWN: Final = ("serviceType", "replicas", *_RESOURCES)


class BadParameters(ValueError):
    """What is wrong, by the name of the field, and what would be right."""


def with_parameters(options: GatewayOptions, data: Mapping[str, str]) -> GatewayOptions:
    """`options` as `data` changes them; BadParameters for a field that is not known, or a value that cannot be."""
    resources: dict[str, str] = {}
    for name, value in sorted(data.items()):
        if name == "serviceType":
            if value not in TYPES:
                raise BadParameters(f"data.serviceType: {value!r} is none of {', '.join(TYPES)}")
            options = replace(options, service_type=value)
        elif name == "replicas":
            if not value.isascii() or not value.isdecimal() or not 0 <= int(value) <= 1000:
                raise BadParameters(f'data.replicas: {value!r} is not a number from 0 to 1000, as "2"')
            options = replace(options, replicas=int(value))
        elif name in _RESOURCES:
            if not _QUANTITY.fullmatch(value):
                raise BadParameters(f"data.{name}: {value!r} is not a quantity, as 100m or 128Mi")
            resources[_RESOURCES[name]] = value
        else:
            raise BadParameters(f"data.{name} is not known: there are {', '.join(KNOWN)}")
    if not resources:
        return options
    said: Resources = replace(options.proxy.resources, **resources)
    return replace(options, proxy=replace(options.proxy, resources=said))
