"""The differences of many clients, put together."""

from __future__ import annotations

from meshwright.plan.grouping import NAME, SETS, Sort, together
from meshwright.plan.held import Difference
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from xds.resource import Resource, encode
from xds.types import CLUSTER, LISTENER


def a_cluster(name: str, seconds: int) -> Resource:
    made = Cluster(name=name, alt_stat_name=f"{name}/{seconds}")
    made.connect_timeout.seconds = seconds
    return encode(CLUSTER, name, made.SerializeToString())


def slower(name: str) -> Difference:
    return a_cluster(name, 1), a_cluster(name, 5)


def test_one_change_of_one_resource_for_many_proxies_is_one_entry() -> None:
    clients = tuple(f"default/web-{number:03}" for number in range(500))
    (change,) = together([(clients, (slower("default/api:80"),))])
    assert change.proxies == clients
    assert change.names == ("default/api:80",)
    assert change.sort is Sort.CHANGED
    assert [(each.path, each.before, each.after) for each in change.fields] == [
        ("connect_timeout", '"1s"', '"5s"'),
        ("alt_stat_name", '"default/api:80/1"', '"default/api:80/5"'),
    ]


def test_the_same_change_of_many_resources_is_one_entry_and_the_name_of_each_is_left_open() -> None:
    names = [f"default/s{number:03}:80" for number in range(100)]
    (change,) = together([(("default/web-1",), tuple(map(slower, names)))])
    assert change.names == tuple(names)
    assert change.fields[1].after == f'"{NAME}/5"'
    assert not change.scattered


def test_what_some_have_is_told_apart_from_what_all_have() -> None:
    both, one = slower("default/api:80"), slower("default/cart:80")
    found = together([(("a",), (both, one)), (("b",), (both,))])
    assert [(each.names, each.proxies) for each in found] == [
        (("default/api:80",), ("a", "b")),
        (("default/cart:80",), ("a",)),
    ]


def test_where_each_has_its_own_it_is_one_entry_all_the_same() -> None:
    some = SETS + 1
    (change,) = together([((f"p{number:02}",), (slower(f"default/s{number:02}"),)) for number in range(some)])
    assert change.scattered
    assert len(change.names) == len(change.proxies) == some


def test_what_comes_and_goes_has_no_fields() -> None:
    came, gone = a_cluster("came", 1), a_cluster("gone", 1)
    found = together([(("a",), ((None, came), (gone, None)))])
    assert [(each.sort, each.names, each.fields) for each in found] == [
        (Sort.ADDED, ("came",), ()),
        (Sort.REMOVED, ("gone",), ()),
    ]


def test_a_listener_drains_where_more_than_its_filter_chains_change() -> None:
    def a_listener(chain: str, backlog: int) -> Resource:
        made = Listener(name="in")
        made.filter_chains.add(name=chain)
        made.tcp_backlog_size.value = backlog
        return encode(LISTENER, "in", made.SerializeToString())

    was = a_listener("a", 1)
    for now, drains in ((a_listener("b", 1), False), (a_listener("a", 2), True), (None, True)):
        (change,) = together([(("p",), ((was, now),))])
        assert change.drains is drains
    (added,) = together([(("p",), ((None, was),))])
    assert not added.drains
