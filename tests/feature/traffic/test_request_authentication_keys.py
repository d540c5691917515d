"""RequestAuthentication with keys that proxies fetch: they are rotated, the server is away, slow, or lies."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tests.feature.traffic.test_request_authentication import ask, bearer, issuer, policy
from tests.support.processes import eventually
from tests.support.tokens import Issuer, JwksServer, SigningKey
from tests.support.traffic.draining import applied_to_all, drained
from tests.support.traffic.world import Traffic


@contextlib.asynccontextmanager
async def served(traffic: Traffic, login: Issuer, mode: str = "keys") -> AsyncIterator[JwksServer]:
    async with JwksServer(traffic.port(), login) as server:
        server.mode = mode
        yield server


def fetched(login: Issuer, uri: str, more: str = "") -> str:
    jwks = f"{{uri: '{uri}', cache: 1s, timeout: 3s{more}}}"
    return policy(f"  issuers:\n{issuer(login, jwks=jwks)}")


async def test_keys_are_rotated_and_stay_good_while_their_server_is_away(traffic: Traffic) -> None:
    first, second = SigningKey.rsa("first"), SigningKey.ec("second")
    login = Issuer(keys=[first])
    async with served(traffic, login) as server, applied_to_all(traffic, fetched(login, server.uri)):
        assert (await ask(traffic, login.token(first))).status == 200
        assert (await ask(traffic, login.token(second))).status == 401
        login.keys = [first, second]

        async def known(key: SigningKey) -> bool:
            answers = [await ask(traffic, login.token(key)) for _ in range(8)]
            return all(each.status == 200 for each in answers)

        await eventually(lambda: known(second), "the new key is known everywhere")
        assert await known(first)
        login.keys = [second]

        async def forgotten() -> bool:
            answers = [await ask(traffic, login.token(first)) for _ in range(8)]
            return all(each.status == 401 for each in answers)

        await eventually(forgotten, "the old key is good nowhere")
        assert await known(second)

        # What was fetched stays good while the server is away.
        server.mode, before = "500", server.asked

        async def tried() -> bool:
            return server.asked > before + 4

        await eventually(tried, "proxies have asked again")
        assert await known(second)
        login.keys, server.mode = [first], "keys"
        await eventually(lambda: known(first), "the keys are fetched again")


async def test_without_keys_no_token_is_good_and_with_them_it_is(traffic: Traffic) -> None:
    modes = ("500", "hang", "garbage", "html", "empty", "closed", "huge", "keys")
    async with contextlib.AsyncExitStack() as stack:
        logins = {mode: Issuer(f"urn:{mode}") for mode in modes}
        servers = {
            mode: await stack.enter_async_context(served(traffic, login, mode))
            for mode, login in logins.items()
        }

        def keys(mode: str) -> str:
            timeout = "300ms" if mode == "hang" else "3s"
            return f"{{uri: '{servers[mode].uri}', cache: 1s, timeout: {timeout}}}"

        said = "".join(issuer(login, jwks=keys(mode), name=f"of-{mode}") for mode, login in logins.items())
        await stack.enter_async_context(applied_to_all(traffic, policy(f"  issuers:\n{said}")))
        for mode, login in logins.items():
            answer = await ask(traffic, login.token())
            assert (answer.status, answer.seconds < 4) == (200 if mode == "keys" else 401, True), (
                mode,
                answer,
            )
        for server in servers.values():
            server.mode = "keys"

        async def good() -> bool:
            return all([(await ask(traffic, each.token())).status == 200 for each in logins.values()])

        await eventually(good, "the keys are fetched")


async def test_a_service_of_the_mesh_is_asked_by_a_sidecar_whose_workload_does_not_use_it(
    traffic: Traffic,
) -> None:
    """`store` uses nothing; its sidecar asks `keys` all the same, over mesh TLS where that has a sidecar."""
    login = Issuer()
    async with served(traffic, login) as server:
        outside = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: ExternalService
metadata: {{name: keys}}
spec:
  hosts: [keys.example]
  ports: [{{name: http, port: 80, protocol: http, targetPort: {server.port}}}]
  resolution: static
  endpoints: [127.0.0.1]
"""
        jwks = "{uri: 'http://keys.example/keys', service: {name: keys, port: 80}}"
        said = policy(f"  issuers:\n{issuer(login, jwks=jwks)}", "{kind: Service, name: store}")
        async with applied_to_all(traffic, said) as file:
            await drained(traffic)
            answer = await traffic.get("http://store.mesh/", headers=bearer(login.token()))
            assert answer.status == 401, "there is no such service yet"
            await file.replace(said + outside)

            async def good() -> bool:
                answer = await traffic.get("http://store.mesh/", headers=bearer(login.token()))
                return answer.status == 200

            await eventually(good, "the service is there")
