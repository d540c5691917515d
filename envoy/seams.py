"""Where policies take part in rendering: the connection manager, the route, and resources of their own.

A policy never edits a finished message. It gives a frozen value, which is part of the whole input that a rendering is
memoised by. All are empty until a later issue brings policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from google.protobuf.any_pb2 import Any

from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)


class FilterOrder(IntEnum):
    """Where an HTTP filter stands; the router is always last. Who the caller is comes before what it may do, and what
    refuses a request before what spends work on it.
    """

    AUTHENTICATION = 10
    AUTHORIZATION = 20
    FAULT = 30
    RATE_LIMIT = 40
    TRANSFORMATION = 50
    COMPRESSION = 60
    TELEMETRY = 70


@dataclass(frozen=True, slots=True, order=True)
class HttpFilter:
    """An HTTP filter with its serialised configuration. `disabled` ones act only where a route enables them."""

    order: FilterOrder
    name: str
    type_url: str
    config: bytes
    disabled: bool = False


@dataclass(frozen=True, slots=True, order=True)
class RouteFilter:
    """The configuration of the HTTP filter `name` for one route."""

    name: str
    type_url: str
    config: bytes


@dataclass(frozen=True, slots=True)
class Retries:
    """When a request is sent again, as in `x-envoy-retry-on`. `attempts` come after the first one."""

    on: tuple[str, ...]
    attempts: int


SAFE_RETRIES = Retries(on=("connect-failure", "refused-stream", "reset-before-request"), attempts=2)
"""Only where the request cannot have reached the application, so that repeating it is safe whatever it does. An instance
that is replaced under load costs no request this way."""


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What a route does. `timeout` None is no limit: long answers and streams are legitimate, and nobody asked for one."""

    timeout: timedelta | None = None
    retries: Retries | None = SAFE_RETRIES
    filters: tuple[RouteFilter, ...] = ()


@dataclass(frozen=True, slots=True)
class ExtraResource:
    """A resource that a policy needs besides, for example the cluster of a rate limit service."""

    type_url: str
    name: str
    body: bytes
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seams:
    """All three. A renderer's caller passes one for what it renders; equal ones share the rendering."""

    http_filters: tuple[HttpFilter, ...] = ()
    route: RouteSettings = RouteSettings()
    resources: tuple[ExtraResource, ...] = ()


NO_POLICIES = Seams()


def add_filters(manager: HttpConnectionManager, filters: tuple[HttpFilter, ...]) -> None:
    """Append `filters` in their declared order, ties by name."""
    for each in sorted(filters):
        added = manager.http_filters.add()
        added.name = each.name
        added.disabled = each.disabled
        _fill(added.typed_config, each.type_url, each.config)


def add_route_filters(route: Route, filters: tuple[RouteFilter, ...]) -> None:
    for each in filters:
        _fill(route.typed_per_filter_config[each.name], each.type_url, each.config)


def _fill(target: Any, type_url: str, config: bytes) -> None:
    target.type_url = type_url
    target.value = config
