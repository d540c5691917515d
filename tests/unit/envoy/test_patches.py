from __future__ import annotations

import pytest
from google.protobuf import json_format

from envoy.packing import pack, type_url
from envoy.patches import Patch, Unfit, applied, merge, parse
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

LEAST = "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"


def patch(said: dict[str, object], name: str = "c", by: str = "default/p") -> Patch:
    return Patch(type_url(Cluster), name, parse(said, Cluster).SerializeToString(), by)


def cluster() -> Cluster:
    made = Cluster(name="c")
    made.connect_timeout.nanos = 500_000_000
    made.circuit_breakers.thresholds.add().max_requests.value = 5
    return made


def test_values_replace_and_messages_are_merged() -> None:
    made = cluster()
    merge(
        made, parse({"connectTimeout": "2s", "circuit_breakers": {"thresholds": [{"priority": 1}]}}, Cluster)
    )
    # A duration is one value: nothing is left of the half second.
    assert (made.connect_timeout.seconds, made.connect_timeout.nanos) == (2, 0)
    # These have no names, so that they cannot be told apart.
    assert [each.priority for each in made.circuit_breakers.thresholds] == [0, 1]
    assert made.name == "c"


def test_elements_of_lists_are_told_apart_by_their_names() -> None:
    made = RouteConfiguration()
    for name in "ab":
        made.virtual_hosts.add(name=name, domains=[name])
    said = {"virtualHosts": [{"name": "b", "domains": ["x"]}, {"name": "c", "domains": ["c"]}]}
    merge(made, parse(said, RouteConfiguration))
    assert [(each.name, list(each.domains)) for each in made.virtual_hosts] == [
        ("a", ["a"]), ("b", ["b", "x"]), ("c", ["c"]),
    ]  # fmt: skip


def test_what_is_packed_is_merged_where_the_types_are_one_and_replaced_else() -> None:
    made = Listener(name="l")
    chain = made.filter_chains.add(name="chain")
    pack(
        chain.filters.add(name="tcp").typed_config,
        TcpProxy(stat_prefix="before", cluster="c"),
    )
    of_tcp = {"@type": type_url(TcpProxy), "statPrefix": "after"}
    other = {"@type": LEAST}
    for typed, kept in ((of_tcp, "c"), (other, None)):
        said = {"filterChains": [{"name": "chain", "filters": [{"name": "tcp", "typedConfig": typed}]}]}
        merge(made, parse(said, Listener))
        (only,) = made.filter_chains[0].filters
        if kept is None:
            assert only.typed_config.type_url == LEAST
        else:
            inner = TcpProxy.FromString(only.typed_config.value)
            assert (inner.stat_prefix, inner.cluster) == ("after", kept)


def test_maps_are_merged_by_key() -> None:
    made = Cluster()
    made.metadata.filter_metadata["a"].update({"x": 1, "y": 1})
    merge(made, parse({"metadata": {"filterMetadata": {"a": {"x": 2}, "b": {"z": 3}}}}, Cluster))
    assert dict(made.metadata.filter_metadata["a"]) == {"x": 2, "y": 1}
    assert dict(made.metadata.filter_metadata["b"]) == {"z": 3}


def test_only_the_resource_of_the_type_and_name_is_patched() -> None:
    made, refused = applied(cluster(), "c", [patch({"altStatName": "x"}, name="other")])
    assert (made, refused) == (cluster(), ())
    made, refused = applied(Listener(name="c"), "c", [patch({"altStatName": "x"})])
    assert (made, refused) == (Listener(name="c"), ())


def test_one_that_breaks_a_constraint_is_left_out_and_the_others_are_not() -> None:
    patches = [
        patch({"altStatName": "x"}),
        patch({"connectTimeout": "0s"}, by="default/wrong"),
        patch({"respectDnsTtl": True}),
    ]
    made, refused = applied(cluster(), "c", patches)
    assert isinstance(made, Cluster)
    assert (made.alt_stat_name, made.respect_dns_ttl, made.connect_timeout.nanos) == ("x", True, 500_000_000)
    ((by, why),) = refused
    assert by == "default/wrong"
    assert "connect_timeout" in why


def nested(levels: int) -> dict[str, object]:
    within: dict[str, object] = {"x": 1}
    for _ in range(levels):
        within = {"x": within}
    return {"metadata": {"filterMetadata": {"a": within}}}


@pytest.mark.parametrize("levels", [32, 36, 40])
def test_what_is_nested_too_deep_to_be_read_again_is_no_patch(levels: int) -> None:
    with pytest.raises(Unfit, match=r"not to be laid over a .*Cluster: DecodeError"):
        parse(nested(levels), Cluster)
    parse(nested(20), Cluster)


def test_one_that_cannot_be_read_or_merged_is_left_out_and_the_others_are_not() -> None:
    deep = json_format.ParseDict(nested(36), Cluster()).SerializeToString()
    untyped = Cluster()
    untyped.typed_extension_protocol_options["a"].SetInParent()
    url = type_url(Cluster)
    patches = [
        Patch(url, "c", deep, "default/deep"),
        Patch(url, "c", untyped.SerializeToString(), "default/untyped"),
        Patch(url, "c", b"\xff", "default/no-message"),
        patch({"altStatName": "x"}),
    ]
    made, refused = applied(cluster(), "c", patches)
    assert isinstance(made, Cluster)
    assert made.alt_stat_name == "x"
    assert [(by, why.split(": ")[1]) for by, why in refused] == [
        ("default/deep", "DecodeError"), ("default/untyped", "KeyError"), ("default/no-message", "DecodeError"),
    ]  # fmt: skip
    made.alt_stat_name = ""
    assert made == cluster()


@pytest.mark.parametrize(
    ("said", "path", "reason"),
    [
        ({"nope": 1}, "nope", "envoy.config.cluster.v3.Cluster has no such field"),
        (
            {"outlierDetection": {"nope": 1}},
            "outlierDetection.nope",
            "envoy.config.cluster.v3.OutlierDetection has no such field",
        ),
        ({"connectTimeout": "1x"}, "connectTimeout", 'duration must end with letter "s": 1x'),
        (
            {"lbPolicy": "NOPE"},
            "lbPolicy",
            "invalid enum value NOPE for enum type envoy.config.cluster.v3.Cluster.LbPolicy",
        ),
        (
            {"circuitBreakers": {"thresholds": [{"maxRequests": "x"}]}},
            "circuitBreakers.thresholds.maxRequests",
            "invalid literal for int() with base 10: 'x'",
        ),
        ({"healthChecks": {}}, "healthChecks", "repeated field healthChecks must be a list, not {}"),
        (
            {"typedExtensionProtocolOptions": {"a": {"@type": "type.googleapis.com/envoy.nope.v3.X"}}},
            "",
            "Envoy has no type envoy.nope.v3.X",
        ),
        (
            {"typedExtensionProtocolOptions": {"a": {"@type": "type.googleapis.com/os.path.X"}}},
            "",
            "'type.googleapis.com/os.path.X' is not a type of Envoy, like type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ),
        (
            {"typedExtensionProtocolOptions": {"a": {"@type": 5}}},
            "",
            "an @type is text, like type.googleapis.com/envoy.config.cluster.v3.Cluster, not 5",
        ),
        (
            {
                "typedExtensionProtocolOptions": {
                    "a": {"@type": "type.googleapis.com/envoy.config.cluster.v3.cluster_pb2.Cluster"}
                }
            },
            "",
            "Envoy has no type envoy.config.cluster.v3.cluster_pb2.Cluster",
        ),
        (
            {"typedExtensionProtocolOptions": {"a": {}}},
            "",
            "something packed has no @type, like type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ),
        (
            {"filters": [{"name": "a", "typedConfig": {}}]},
            "",
            "something packed has no @type, like type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ),
        (
            {"lbPolicy": float("inf")},
            "",
            "not to be read as envoy.config.cluster.v3.Cluster: OverflowError: cannot convert float infinity to integer",
        ),
    ],
)
def test_what_is_no_part_of_the_message(said: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        parse(said, Cluster)
    assert (caught.value.path, caught.value.reason) == (path, reason)
