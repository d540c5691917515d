"""A Consul whose answers are lost: a fault that the real one cannot be made to show at the moment that matters."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import cast

import pytest

from store.backend import Head
from store.consul_http import Away, ConsulHttp, Operation, Pair
from store.consul_kv import ConsulBackend

BEFORE = Head(7, "seven", 1)


class _Losing:
    """The answer to the first transaction is lost; whether or not it landed, another writer's head is there afterwards."""

    address = "http://127.0.0.1:8500"

    def __init__(self, after: Head) -> None:
        self.head, self.after = BEFORE, after

    async def read(self, key: str) -> Pair | None:
        head = self.head
        text = {"number": head.number, "id": head.id, "oldest": head.oldest}
        value = json.dumps(text) if key.endswith("/head") else BEFORE.id
        return Pair(Key=key, Value=base64.b64encode(value.encode()).decode(), ModifyIndex=head.number)

    async def transaction(self, _: Sequence[Operation]) -> list[Pair] | None:
        self.head = self.after
        raise Away("the connection ended", sent=True)


@pytest.mark.parametrize(("after", "landed"), [(Head(8, "eight", 1), False), (Head(8, "eight", 5), True)])
async def test_a_raised_oldest_has_landed_only_where_later_heads_have_it(after: Head, landed: bool) -> None:
    backend = ConsulBackend(cast("ConsulHttp", _Losing(after)), "meshwright")
    raised = Head(BEFORE.number, BEFORE.id, 5)
    assert await backend.compare_and_set_head(BEFORE, raised, {}) is landed
