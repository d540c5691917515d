"""What is let through must be what Envoy takes: asked of Envoy itself."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from documents.expressions import flaw
from tests.support import binaries


@pytest.mark.parametrize(
    ("expression", "good"),
    [
        ("/users/[0-9]+(/.*)?", True),
        (r"/\d{4}-\d{2}", True),
        ("(?i)/API/.*", True),
        (r"(?i)\pL{1,5}", True),
        ("[a-z]{1,47}/x", True),
        ("[a-z]{1,48}/x", False),  # just over the limit
        (r"(?i)\pL{1,20}", False),
        ("/(?=a)b", False),
        (r"(a)\1", False),
        ("a{1001}", False),
        ("[z-a]", False),
        ("é+", True),
    ],
)
def test_envoy_says_the_same(expression: str, good: bool, tmp_path: pathlib.Path) -> None:
    assert (flaw(expression) is None) is good
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(_config(expression)))
    ran = subprocess.run(
        [binaries.envoy(), "--mode", "validate", "--config-path", str(config), "--log-level", "off"],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    assert (ran.returncode == 0) is good


def _config(expression: str) -> dict[str, object]:
    extensions = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"safe_regex": {"regex": expression}}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "a",
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "a",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}
