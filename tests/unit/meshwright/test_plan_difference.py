"""What differs between two forms of a resource, in words."""

from __future__ import annotations

from meshwright.plan.difference import HIDDEN, LONGEST, UNREADABLE, FieldChange, JsonTree, between, fields
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from xds.types import CLUSTER, SECRET


def said(before: JsonTree, after: JsonTree) -> list[tuple[str, str | None, str | None]]:
    return [(each.path, each.before, each.after) for each in fields(before, after)]


def test_equal_trees_differ_in_nothing() -> None:
    assert said({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == []


def test_a_value_is_said_with_its_path() -> None:
    assert said({"a": {"b": 1}}, {"a": {"b": 2}}) == [("a.b", "1", "2")]
    assert said({}, {"a": "x"}) == [("a", None, '"x"')]
    assert said({"a": "x"}, {}) == [("a", '"x"', None)]


def test_elements_with_names_are_told_apart_by_them() -> None:
    before: JsonTree = [{"name": "a", "on": 1}, {"name": "b"}]
    after: JsonTree = [{"name": "c"}, {"name": "a", "on": 2}]
    assert said({"list": before}, {"list": after}) == [
        ("list[c]", None, '{"name": "c"}'),
        ("list[a].on", "1", "2"),
        ("list[b]", '{"name": "b"}', None),
    ]


def test_another_order_of_named_elements_is_a_change() -> None:
    a: JsonTree = {"name": "a"}
    b: JsonTree = {"name": "b"}
    assert said([a, b], [b, a]) == [(" (order)", '["a", "b"]', '["b", "a"]')]


def test_an_element_put_in_front_is_one_change_and_not_one_of_all_that_follow() -> None:
    assert said({"list": [1, 2, 3]}, {"list": [0, 1, 2, 3]}) == [("list[0]", None, "0")]
    assert said({"list": [1, {"x": 1}]}, {"list": [1, {"x": 2}]}) == [("list[1].x", "1", "2")]
    assert said({"list": [1, 2, 3]}, {"list": [3]}) == [("list[0]", "1", None), ("list[1]", "2", None)]


def test_a_long_value_is_cut_and_says_so() -> None:
    (change,) = fields({"a": ""}, {"a": "x" * 10_000})
    assert change.after is not None
    assert len(change.after) < LONGEST + 40
    assert change.after.endswith("(10,002 characters)")


def test_messages_differ_by_field() -> None:
    before, after = Cluster(name="api"), Cluster(name="api")
    before.connect_timeout.seconds, after.connect_timeout.seconds = 1, 5
    changes, more = between(CLUSTER, before.SerializeToString(), after.SerializeToString())
    assert changes == (FieldChange("connect_timeout", '"1s"', '"5s"'),)
    assert more == 0


def test_nothing_of_a_secret_is_shown() -> None:
    before, after = Secret(name="identity"), Secret(name="identity")
    after.tls_certificate.private_key.inline_string = "PRIVATE"
    changes, _ = between(SECRET, before.SerializeToString(), after.SerializeToString())
    assert changes == (FieldChange("", HIDDEN, HIDDEN),)


def test_an_extension_that_is_not_known_here_is_said_to_be_so() -> None:
    before, after = Cluster(name="api"), Cluster(name="api")
    after.cluster_type.typed_config.type_url = "type.googleapis.com/nobody.knows.This"
    changes, _ = between(CLUSTER, before.SerializeToString(), after.SerializeToString())
    assert changes == (FieldChange("", UNREADABLE, UNREADABLE),)
