"""A proxy is one line of `status`, however many streams it has for its secrets; two proxies are two."""

from __future__ import annotations

from meshwright.proxies import proxies
from xds.status import ClientStatus, TypeStatus
from xds.types import CLUSTER, SECRET


def a_type(url: str, *, in_sync: bool = True) -> TypeStatus:
    return TypeStatus(url, 1, 2, 2, "1", "1", in_sync, (), (), late=False, refusal=None)


def a_stream(name: str, *types: TypeStatus) -> ClientStatus:
    return ClientStatus(name, name, "ipv4:127.0.0.1:1", "envoy", "delta", 0.0, waiting=False, types=types)


def test_streams_of_secrets_are_shown_with_the_rest() -> None:
    ads = a_stream("default/api-1", a_type(CLUSTER))
    identity = a_stream("default/api-1", a_type(SECRET))
    roots = a_stream("default/api-1", a_type(SECRET, in_sync=False))
    (shown,) = proxies([identity, ads, roots])
    assert [kind.type_url for kind in shown.types] == [CLUSTER, SECRET]
    secret = shown.types[1]
    assert (secret.subscribed, secret.responses, secret.in_sync) == (2, 4, False)


def test_two_proxies_that_run_as_one_workload_are_two() -> None:
    one = a_stream("default/api-1", a_type(CLUSTER))
    other = a_stream("default/api-1", a_type(CLUSTER))
    assert len(proxies([one, other, a_stream("default/api-1", a_type(SECRET))])) == 2


def test_what_has_no_other_stream_stands_by_itself() -> None:
    secrets, silent = a_stream("default/b", a_type(SECRET)), a_stream("default/a")
    assert proxies([secrets, silent]) == (silent, secrets)
