"""What a proxy says that it has."""

from __future__ import annotations

import pytest

from explain.dump import table
from explain.question import Unaskable

URL = "type.googleapis.com/envoy.config"


def test_what_envoy_dumps() -> None:
    found = table(
        {
            "configs": [
                {
                    "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
                    "dynamic_active_clusters": [
                        {"cluster": {"@type": f"{URL}.cluster.v3.Cluster", "name": "a", "a_new_field": 1}}
                    ],
                    "dynamic_warming_clusters": [
                        {"cluster": {"@type": f"{URL}.cluster.v3.Cluster", "name": "warming"}}
                    ],
                },
                {
                    "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
                    "dynamic_active_secrets": [{"name": "identity", "secret": {"private_key": "[redacted]"}}],
                },
            ]
        }
    )
    assert found.cluster("a") is not None
    assert found.cluster("warming") is None


def test_what_the_control_plane_dumps() -> None:
    route = {
        "type": "RouteConfiguration",
        "name": "r",
        "origin": ["f#1 Service d/r"],
        "resource": {"name": "r"},
    }
    found = table({"proxy": "default/web-1", "resources": [route]}).routes("r")
    assert found is not None
    assert found.origin == ("f#1 Service d/r",)


@pytest.mark.parametrize(
    "dump",
    [
        {},
        {"configs": []},
        [1, "x", None],
        {"@type": f"{URL}.cluster.v3.Cluster", "name": 7},
        {"type": "Listener", "resource": {"address": {"socket_address": {"port_value": "x"}}}},
    ],
)
def test_what_is_no_dump_is_told(dump: object) -> None:
    with pytest.raises(Unaskable, match="dump"):
        table(dump)
