from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import BadOption
from agent.identity_store import IdentityStore, parse_identity
from agent.options import ProxyOptions, host_and_port
from agent.sidecar import bootstrap_input, check, write_bootstrap
from mesh.workload import Locality
from tests.support.ca_builders import API_1, TRUST_DOMAIN, Credentials, an_authority


def options(directory: Path) -> ProxyOptions:
    return ProxyOptions(
        workload=API_1,
        trust_domain=TRUST_DOMAIN,
        control_plane="mesh.example.org:15010",
        join="mesh.example.org:15011",
        bundle=directory / "roots.pem",
        directory=directory / "agent",
        locality=Locality("eu", "a"),
    )


def test_the_bootstrap_names_the_workload_and_its_files(tmp_path: Path) -> None:
    path = write_bootstrap(options(tmp_path))
    made = json.loads(path.read_text())
    assert made["node"]["id"] == "default/api-1"
    assert made["node"]["locality"] == {"region": "eu", "zone": "a"}
    assert made["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert "control-plane.meshwright.example.org" in path.read_text()
    secret = json.loads((path.parent / "ads-identity.json").read_text())["resources"][0]
    identity = str(tmp_path / "agent" / "identity")
    assert secret["tls_certificate"]["private_key"]["filename"] == f"{identity}/current/key.pem"
    assert secret["tls_certificate"]["watched_directory"]["path"] == identity
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_written_again_it_is_the_same(tmp_path: Path) -> None:
    path = write_bootstrap(options(tmp_path))
    before = path.read_bytes()
    assert write_bootstrap(options(tmp_path)).read_bytes() == before


def test_envoy_is_told_no_secret_of_ours_however_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="--envoy-env MESHWRIGHT_TOKEN"):
        check(replace(options(tmp_path), envoy_environment=("STAGE", "MESHWRIGHT_TOKEN")))


def test_a_member_needs_the_bundle(tmp_path: Path) -> None:
    given = options(tmp_path)
    assert given.membership() is not None
    with pytest.raises(ValueError, match="--bundle"):
        ProxyOptions(API_1, TRUST_DOMAIN, "a:1", tmp_path, join="a:2").membership()
    plain = ProxyOptions(API_1, TRUST_DOMAIN, "127.0.0.1:15013", tmp_path)
    assert plain.membership() is None
    assert bootstrap_input(plain).connection is None


@pytest.mark.parametrize(
    ("address", "parts"),
    [("a.b:1", ("a.b", 1)), ("127.0.0.1:65535", ("127.0.0.1", 65535)), ("[::1]:15010", ("::1", 15010))],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert host_and_port(address) == parts


@pytest.mark.parametrize("address", ["", "a", "a:", ":1", "a:0", "a:65536", "a:x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        host_and_port(address)


async def test_metrics_say_whose_they_are_and_a_known_admin_port_is_a_cluster(tmp_path: Path) -> None:
    given = options(tmp_path)
    authority = an_authority(tmp_path)
    held = await Credentials.issue(authority)
    identity = parse_identity(held.key, held.chain, authority.roots().pem)
    IdentityStore(given.directory).save(identity)
    made = json.loads(write_bootstrap(replace(given, admin_port=15000)).read_text())
    tags = {each["tag_name"]: each["fixed_value"] for each in made["stats_config"]["stats_tags"]}
    assert tags == {
        "service": identity.identity.service_account,
        "namespace": "default",
        "workload": "api-1",
    }
    (admin,) = (each for each in made["static_resources"]["clusters"] if each["name"] == "admin")
    endpoint = admin["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 15000}
    assert "admin" not in [
        each["name"]
        for each in json.loads(write_bootstrap(given).read_text())["static_resources"]["clusters"]
    ]


def test_the_admin_interface_is_at_a_port_or_on_a_socket(tmp_path: Path) -> None:
    given = replace(options(tmp_path), admin_socket=True)
    made = json.loads(write_bootstrap(given).read_text())
    path = str(tmp_path / "agent" / "sds" / "admin.sock")
    assert made["admin"]["address"] == {"pipe": {"path": path, "mode": 0o600}}
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
    (admin,) = (each for each in made["static_resources"]["clusters"] if each["name"] == "admin")
    assert path in str(admin)
    with pytest.raises(BadOption, match="--admin-socket"):
        check(replace(given, admin_port=15000, starts_envoy=False))


async def test_a_proxy_that_says_no_place_is_where_the_control_plane_says(tmp_path: Path) -> None:
    given = options(tmp_path)
    authority = an_authority(tmp_path)
    issued = await Credentials.issue(authority)
    held = replace(
        parse_identity(issued.key, issued.chain, authority.roots().pem), locality=Locality("eu", "b", "r1")
    )
    assert bootstrap_input(replace(given, locality=Locality()), held).locality == held.locality
    assert bootstrap_input(given, held).locality == given.locality
