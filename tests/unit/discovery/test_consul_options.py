from __future__ import annotations

import pytest

from discovery.backoff import Backoff
from discovery.consul_options import ConsulOptions
from discovery.errors import BadOptions


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("http://127.0.0.1", ("http", "127.0.0.1", 8500)),
        ("https://consul.example", ("https", "consul.example", 8501)),
        ("http://[::1]:9", ("http", "[::1]", 9)),
    ],
)
def test_addresses(address: str, endpoint: tuple[str, str, int]) -> None:
    assert ConsulOptions(address=address).endpoint() == endpoint


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8500", "unix:///x", "http://", "http://a:x", "http://me:secret@a:1"]
)
def test_bad_addresses(address: str) -> None:
    with pytest.raises(BadOptions) as caught:
        ConsulOptions(address=address)
    assert "secret" not in str(caught.value)


def test_other_bad_options() -> None:
    with pytest.raises(BadOptions, match="wait"):
        ConsulOptions(wait=0)
    with pytest.raises(BadOptions, match="key file"):
        ConsulOptions(key_file="k")


def test_a_token_is_not_shown() -> None:
    assert "hush" not in repr(ConsulOptions(token="hush"))


def test_backoff_doubles_to_its_longest_with_jitter() -> None:
    backoff = Backoff(lambda: 0.5, first=1, longest=6)
    assert [backoff.next() for _ in range(5)] == [0.75, 1.5, 3.0, 4.5, 4.5]
    backoff.reset()
    assert backoff.next() == 0.75
