"""What another version would send, as `meshwright upgrade-check` tells it."""

from __future__ import annotations

from pydantic import Field

from api.shapes.plan import ResourceDifference
from api.shapes.shape import Shape


class UpgradeAnswer(Shape):
    """What `version` would send to the clients of a control plane of version `running`. `proxies` of `ofProxies` would be sent something."""

    running: str
    version: str
    resources: tuple[ResourceDifference, ...] = ()
    more_resources: int = 0
    refused: tuple[str, ...] = Field(default=(), description="Documents that it refuses.")
    not_sent: tuple[str, ...] = Field(default=(), description="What it would not send, and why.")
    drains: int = Field(default=0, description="Proxies of which connections would be drained.")
    proxies: int
    of_proxies: int
    left_out: int = Field(
        default=0,
        description="Proxies that are given other values of some documents now, and were not compared.",
    )
