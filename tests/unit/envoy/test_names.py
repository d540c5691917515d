from __future__ import annotations

from envoy import names
from mesh.service import Protocol
from tests.support.builders import a_key


def test_scopes_whose_key_means_the_same_to_everybody_have_one_name_for_everybody() -> None:
    own = dict(names.scopes(a_key("shop/api"), "shop"))
    foreign = dict(names.scopes(a_key("shop/api"), "default"))
    assert foreign == {"api.shop.mesh": "api.shop.mesh", "api.shop": "api.shop"}
    assert own == foreign | {"shop/api.mesh": "api.mesh", "shop/api": "api"}


def test_scopes_of_services_of_one_name_never_share_a_name() -> None:
    shop = {name for name, _ in names.scopes(a_key("shop/api"), "shop")}
    default = {name for name, _ in names.scopes(a_key("default/api"), "default")}
    assert not shop & default


def test_a_listener_is_named_by_its_port_so_that_another_service_behind_it_is_a_change_of_it() -> None:
    assert names.outbound_local(9001) == "outbound/9001"
    assert names.inbound(15101) == "inbound/15101"


def test_an_application_port_spoken_to_in_two_ways_is_two_clusters() -> None:
    spoken = {names.inbound_cluster(9001, protocol) for protocol in Protocol}
    assert spoken == {"inbound/9001/http", "inbound/9001/http2", "inbound/9001/tcp"}
