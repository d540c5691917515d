"""Whether a manifest has the form of a pod, as far as injection reads it. An API server checks this before it asks; files may hold anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from inject.errors import NotInjectable

_LISTS: Final = ("containers", "initContainers", "volumes", "imagePullSecrets")
_MAPPINGS: Final = ("securityContext", "os", "nodeSelector")
_OF_CONTAINER: Final = ("livenessProbe", "readinessProbe", "startupProbe", "securityContext", "lifecycle")


def check(pod: Mapping[str, Any]) -> None:
    """NotInjectable names the field that is something else than it should be."""
    metadata = _mapping(pod, "metadata", "")
    for name in ("labels", "annotations"):
        for key, value in _mapping(metadata, name, "metadata.").items():
            if not isinstance(value, str):
                raise NotInjectable(f"metadata.{name}: {key!r}: {value!r} is not a text: put it in quotes")
    spec = _mapping(pod, "spec", "")
    for name in _MAPPINGS:
        _mapping(spec, name, "spec.")
    grace = spec.get("terminationGracePeriodSeconds", 0)
    if isinstance(grace, bool) or not isinstance(grace, int):
        raise NotInjectable("spec.terminationGracePeriodSeconds is not a number")
    for name in _LISTS:
        for at, each in _listed(spec, name, "spec."):
            if name.endswith("ontainers"):
                _container(each, at)


def _container(container: Mapping[str, Any], at: str) -> None:
    if not isinstance(container.get("name"), str):
        raise NotInjectable(f"{at} has no name")
    for place, port in _listed(container, "ports", f"{at}."):
        if not isinstance(port.get("containerPort"), int):
            raise NotInjectable(f"{place}.containerPort is not a number")
    for name in _OF_CONTAINER:
        found = _mapping(container, name, f"{at}.")
        handlers = [(f"{at}.{name}", found)]
        if name == "lifecycle":
            handlers = [
                (f"{at}.lifecycle.{hook}", _mapping(found, hook, f"{at}.lifecycle."))
                for hook in ("preStop", "postStart")
            ]
        for place, handler in handlers:
            _handler(handler, place)


def _handler(handler: Mapping[str, Any], at: str) -> None:
    timeout = handler.get("timeoutSeconds", 1)
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int)):
        raise NotInjectable(f"{at}.timeoutSeconds is not a number")
    for way in ("httpGet", "tcpSocket", "grpc"):
        asked = _mapping(handler, way, f"{at}.")
        for name in ("path", "scheme", "service", "host"):
            if not isinstance(asked.get(name, ""), str | None):
                raise NotInjectable(f"{at}.{way}.{name} is not a text")
        for place, header in _listed(asked, "httpHeaders", f"{at}.{way}."):
            if not isinstance(header.get("name"), str) or not isinstance(header.get("value", ""), str):
                raise NotInjectable(f"{place} has no name and value that are texts")


def _mapping(holder: Mapping[str, Any], name: str, at: str) -> Mapping[str, Any]:
    """Empty if it is not said."""
    found = holder.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise NotInjectable(f"{at}{name} is not a mapping")
    return found


def _listed(holder: Mapping[str, Any], name: str, at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = holder.get(name)
    if found is None:
        return
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NotInjectable(f"{at}{name} is not a list of mappings")
    for number, each in enumerate(found):
        yield f"{at}{name}[{number}]", each
