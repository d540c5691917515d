"""A pod's annotations, read: what differs in it from what the mesh's sidecars have in common."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any, Final

from inject.errors import NotInjectable
from inject.names import PREFIX
from inject.options import InjectOptions, Interception, Passed

_QUANTITY = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+|m|[kMGTPE]|[KMGTPE]i)?")
_SERVICE = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[^\s,]+")


@dataclass(frozen=True, slots=True)
class Said:
    """`options` with what the annotations say; `unknown`: a line for each annotation of our prefix that means nothing to us."""

    options: InjectOptions
    passed: Passed
    unknown: tuple[str, ...] = ()


def read(annotations: Mapping[str, str], options: InjectOptions) -> Said:
    """NotInjectable, with the annotation's name, for a value that cannot be."""
    passed: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    resources: dict[str, str] = {}
    unknown = []
    for full, text in annotations.items():
        if not full.startswith(PREFIX):
            continue
        name = full.removeprefix(PREFIX)
        if (quantity := _RESOURCES.get(name)) is not None:
            resources[quantity] = _read(full, _quantity, text)
        elif (option := _OPTIONS.get(name)) is not None:
            changed[option[0]] = _read(full, option[1], text)
        elif (excluded := _PASSED.get(name)) is not None:
            passed[excluded[0]] = _read(full, excluded[1], text)
        elif (discovered := _DISCOVERED.get(name)) is not None:
            _read(full, discovered, text)
        elif name not in OTHERS:
            near = difflib.get_close_matches(name, KNOWN, n=1)
            unknown.append(
                f"annotation {full} means nothing to Meshwright{f': did you mean {PREFIX}{near[0]}?' if near else ''}"
            )
    made = replace(options, **changed, resources=replace(options.resources, **resources))
    return Said(made, Passed(**passed), tuple(unknown))


def _read(name: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text.strip())
    except ValueError as error:
        raise NotInjectable(f"annotation {name}: {text[:100]!r} {error}") from error


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise ValueError("is not a quantity, as 100m or 128Mi")
    return text


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError("is not the name of an image")
    return text


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError('is neither "true" nor "false"')
    return text == "true"


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10_000:
        raise ValueError("is not a number from 1 to 9999")
    return int(text)


def _level(text: str) -> str:
    if text not in {"debug", "info", "warning", "error"}:
        raise ValueError("is none of debug, info, warning and error")
    return text


def _interception(text: str) -> Interception:
    try:
        return Interception(text)
    except ValueError:
        raise ValueError(f"is none of {', '.join(Interception)}") from None


def _ports(text: str) -> tuple[int, ...]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not all(each.isdecimal() and 0 < int(each) < 65536 for each in found):
        raise ValueError("is not a list of ports, as 9090,9091")
    return tuple(dict.fromkeys(map(int, found)))


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(str(ip_network(part.strip())) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise ValueError(f"is not a list of networks, as 10.0.0.0/8: {error}") from None


def _services(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(_SERVICE.fullmatch(each) for each in found):
        raise ValueError("is not a list of services, as api, payments/store")
    return found


def _clusters(text: str) -> str:
    if text not in {"all", "onDemand"}:
        raise ValueError("is neither all nor onDemand")
    return text


_RESOURCES: Final = {
    "proxy-cpu": "cpu",
    "proxy-memory": "memory",
    "proxy-cpu-limit": "cpu_limit",
    "proxy-memory-limit": "memory_limit",
}
_OPTIONS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "proxy-image": ("image", _image),
    "proxy-concurrency": ("concurrency", _number),
    "proxy-log-level": ("log_level", _level),
    "interception": ("interception", _interception),
    "dns": ("dns", _flag),
    "rewrite-probes": ("rewrite_probes", _flag),
    "leave-patience": ("leave_patience", _number),
    "drain-time": ("drain_time", _number),
}
_PASSED: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "exclude-inbound-ports": ("exclude_inbound_ports", _ports),
    "include-inbound-ports": ("include_inbound_ports", _ports),
    "exclude-inbound-cidrs": ("exclude_inbound_cidrs", _networks),
    "exclude-outbound-ports": ("exclude_outbound_ports", _ports),
    "exclude-outbound-cidrs": ("exclude_outbound_cidrs", _networks),
    "include-outbound-cidrs": ("include_outbound_cidrs", _networks),
}
_DISCOVERED: Final[Mapping[str, Callable[[str], Any]]] = {"uses": _services, "clusters": _clusters}
"""What discovery reads of a pod that runs: it is only checked here."""
OTHERS: Final = frozenset({"inject"})
"""Names of our prefix that are read elsewhere."""
KNOWN: Final = (*_RESOURCES, *_OPTIONS, *_PASSED, *_DISCOVERED)
"""All that a pod may say, without the prefix."""
