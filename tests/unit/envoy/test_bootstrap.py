from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from envoy import names
from envoy.bootstrap import (
    REGEX_PROGRAM,
    BootstrapInput,
    ConnectionFiles,
    bootstrap,
    render,
    secret_files,
)
from envoy.errors import EnvoyNotReady
from envoy.launcher import EnvoyProcess, LaunchOptions, validate
from mesh.workload import Locality
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.config_source_pb2 import ApiConfigSource
from pb.envoy.extensions.resource_monitors.downstream_connections.v3.downstream_connections_pb2 import (
    DownstreamConnectionsConfig,
)
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from tests.support import binaries

FILES = ConnectionFiles(
    key=PurePosixPath("/agent/current/key.pem"),
    chain=PurePosixPath("/agent/current/chain.pem"),
    roots=PurePosixPath("/agent/current/roots.pem"),
    watched=PurePosixPath("/agent"),
    directory=PurePosixPath("/agent"),
    server_name="control-plane.meshwright.mesh.test",
)


def given(**fields: object) -> BootstrapInput:
    return BootstrapInput("default/web-1", "default/web", "127.0.0.1", 15010, **fields)  # type: ignore[arg-type]


def test_the_node_is_the_workload() -> None:
    made = bootstrap(given(locality=Locality("eu", "a", "r"), metadata=(("k", "v"),)))
    assert (made.node.id, made.node.cluster) == ("default/web-1", "default/web")
    assert (made.node.locality.region, made.node.locality.zone, made.node.locality.sub_zone) == (
        "eu",
        "a",
        "r",
    )
    assert dict(made.node.metadata) == {"k": "v"}


@pytest.mark.parametrize(
    ("delta", "api"), [(True, ApiConfigSource.DELTA_GRPC), (False, ApiConfigSource.GRPC)]
)
def test_everything_comes_over_one_stream_and_the_node_travels_once(delta: bool, api: int) -> None:
    made = bootstrap(given(delta=delta)).dynamic_resources
    assert made.ads_config.api_type == api
    assert made.ads_config.set_node_on_first_message_only
    assert made.lds_config.HasField("ads")
    assert made.cds_config.HasField("ads")


def test_a_sidecar_waits_for_its_configuration_without_limit() -> None:
    made = bootstrap(given()).dynamic_resources
    for source in made.lds_config, made.cds_config:
        assert source.HasField("initial_fetch_timeout")
        assert source.initial_fetch_timeout.seconds == 0


def test_the_admin_interface_is_on_loopback_unless_told_otherwise() -> None:
    assert bootstrap(given()).admin.address.socket_address.address == "127.0.0.1"


async def test_envoy_starts_without_a_warning(tmp_path: Path) -> None:
    """Connections have a limit, of which Envoy warns where there is none; its admin interface stands outside of it."""
    made = bootstrap(given())
    (monitor,) = made.overload_manager.resource_monitors
    limit = DownstreamConnectionsConfig.FromString(monitor.typed_config.value)
    assert limit.max_active_downstream_connections == 50_000
    assert made.admin.ignore_global_conn_limit
    path = tmp_path / "bootstrap.json"
    path.write_text(render(given()))
    process = await EnvoyProcess.start(
        LaunchOptions(Path(binaries.envoy()), path, log=tmp_path / "log", concurrency=1)
    )
    try:
        with pytest.raises(EnvoyNotReady, match="PRE_INITIALIZING"):
            await process.wait_ready(1)
        assert "global_downstream_max_connections" not in (tmp_path / "log").read_text()
        assert process.admin_address.startswith("127.0.0.1:")
    finally:
        await process.stop()


@pytest.mark.parametrize(
    ("host", "kind"),
    [("10.0.0.1", Cluster.STATIC), ("::1", Cluster.STATIC), ("control.example", Cluster.STRICT_DNS)],
)
def test_the_control_plane_by_address_or_by_name(host: str, kind: int) -> None:
    made = bootstrap(BootstrapInput("a/b", "a", host, 1))
    assert made.static_resources.clusters[0].type == kind


def test_the_connection_presents_the_agents_certificate_and_expects_the_control_plane() -> None:
    cluster = bootstrap(given(connection=FILES)).static_resources.clusters[0]
    context = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    assert context.sni == FILES.server_name
    (identity,) = context.common_tls_context.tls_certificate_sds_secret_configs
    assert identity.sds_config.path_config_source.path == "/agent/ads-identity.json"
    roots = context.common_tls_context.validation_context_sds_secret_config
    assert roots.sds_config.path_config_source.path == "/agent/ads-roots.json"


def test_the_files_beside_it_hold_paths_only_and_are_watched() -> None:
    files = {name: json.loads(text) for name, text in secret_files(FILES).items()}
    certificate = files["ads-identity.json"]["resources"][0]["tls_certificate"]
    assert certificate["private_key"] == {"filename": "/agent/current/key.pem"}
    assert certificate["watched_directory"] == {"path": "/agent"}
    roots = files["ads-roots.json"]["resources"][0]["validation_context"]
    assert roots["watched_directory"] == {"path": "/agent"}
    assert roots["match_typed_subject_alt_names"] == [
        {"san_type": "DNS", "matcher": {"exact": FILES.server_name}}
    ]


def test_the_same_input_is_the_same_text() -> None:
    assert render(given(connection=FILES)) == render(given(connection=FILES))


@pytest.mark.parametrize("connection", [None, FILES])
async def test_envoy_accepts_it(connection: ConnectionFiles | None, tmp_path: Path) -> None:
    if connection is not None:
        connection = ConnectionFiles(
            FILES.key, FILES.chain, FILES.roots, tmp_path, tmp_path, FILES.server_name
        )
        for name, text in secret_files(connection).items():
            (tmp_path / name).write_text(text)
    path = tmp_path / "bootstrap.json"
    whole = given(
        connection=connection,
        locality=Locality("eu", "a"),
        local_service="default/web:80",
        stats_tags=(("workload", "web-1"),),
        runtime=(("a.b", "true"),),
    )
    path.write_text(render(whole))
    await validate(Path(binaries.envoy()), path)


def test_expressions_that_we_make_of_exact_values_may_be_longer_than_envoy_takes_by_default() -> None:
    made = bootstrap(given())
    layers = {layer.name: layer for layer in made.layered_runtime.layers}
    assert layers["meshwright"].static_layer["re2.max_program_size.error_level"] == REGEX_PROGRAM


def test_the_control_plane_switches_a_layer_of_the_runtime_and_nobody_waits_long_for_it() -> None:
    live = {layer.name: layer for layer in bootstrap(given()).layered_runtime.layers}["meshwright-live"]
    assert live.rtds_layer.name == names.RUNTIME
    assert live.rtds_layer.rtds_config.HasField("ads")
    assert 0 < live.rtds_layer.rtds_config.initial_fetch_timeout.ToMilliseconds() <= 500


def test_who_serves_the_keys_is_the_bootstraps_business_alone() -> None:
    by_agent = bootstrap(given(connection=FILES, keys=PurePosixPath("/agent/sds/agent.sock")))
    by_control_plane = bootstrap(given(connection=FILES))
    assert by_agent.node.metadata["meshwright.keys"] == "agent"
    assert "meshwright.keys" not in by_control_plane.node.metadata
    found = [
        {each.name: each for each in made.static_resources.clusters} for made in (by_agent, by_control_plane)
    ]
    assert [set(each) for each in found] == [{"control-plane", "keys"}] * 2
    here, there = (each["keys"] for each in found)
    endpoint = here.load_assignment.endpoints[0].lb_endpoints[0].endpoint
    assert endpoint.address.pipe.path == "/agent/sds/agent.sock"
    assert not here.HasField("transport_socket")
    # The same door with the same mutual TLS as the configuration comes through.
    there.name = "control-plane"
    there.load_assignment.cluster_name = "control-plane"
    assert there == found[1]["control-plane"]
