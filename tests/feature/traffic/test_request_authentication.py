"""RequestAuthentication: real tokens of real keys, good and bad ones, to a service of the mesh."""

from __future__ import annotations

import time
from pathlib import Path

import grpc

from tests.feature.traffic.test_access_log import lines
from tests.feature.traffic.test_access_log import policy as access_log
from tests.support.tokens import Issuer, SigningKey
from tests.support.traffic.client import Answer
from tests.support.traffic.draining import applied_to_all
from tests.support.traffic.world import Traffic

API = "{kind: Service, name: api}"


def policy(spec: str, target: str = API, name: str = "jwt") -> str:
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: RequestAuthentication
metadata: {{name: {name}}}
spec:
  targetRefs: [{target}]
{spec}
"""


def issuer(of: Issuer, more: str = "", *, jwks: str = "", name: str = "main") -> str:
    keys = jwks or f"{{inline: '{of.jwks}'}}"
    return f"  - {{name: {name}, issuer: '{of.name}', audiences: [api], jwks: {keys}{more}}}\n"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def ask(traffic: Traffic, token: str | None = None, path: str = "/", **headers: str) -> Answer:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return await traffic.get(
        f"http://api.mesh{path}", headers=said | ({} if token is None else bearer(token))
    )


async def test_good_and_bad_tokens(traffic: Traffic) -> None:
    login, stranger = Issuer(), Issuer()
    elliptic = Issuer("https://staff.example", [SigningKey.ec("two")])
    now = int(time.time())
    claims = ", claims: [{claim: sub, header: x-user}, {claim: a.b, header: x-deep}], payloadHeader: x-claims"
    spec = "  issuers:\n" + issuer(login, claims) + issuer(elliptic, name="staff")
    async with applied_to_all(traffic, policy(spec)):
        good = await ask(traffic, login.token(a={"b": 7}), x_user="forged", x_deep="forged")
        assert (good.status, good.seen["x-user"], good.seen["x-deep"]) == (200, "ann", "7")
        assert good.seen["authorization"].startswith("Bearer ")
        other = await ask(traffic, elliptic.token(), x_user="forged", x_claims="forged")
        assert (other.status, "x-user" in other.seen, "x-claims" in other.seen) == (200, False, False)
        bad = {
            "none at all": (None, 401, "Jwt is missing"),
            "not a token": (
                "abc",
                401,
                "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
            ),
            "expired": (login.token(exp=now - 120), 401, "Jwt is expired"),
            "not yet valid": (login.token(nbf=now + 120), 401, "Jwt not yet valid"),
            "never expires": (login.token(exp=None), 401, None),
            "another audience": (login.token(aud="store"), 403, "Audiences in Jwt are not allowed"),
            "no audience": (login.token(aud=None), 403, "Audiences in Jwt are not allowed"),
            "another issuer": (login.token(iss="https://evil.example"), 401, "Jwt issuer is not configured"),
            "the name of another issuer": (elliptic.token(iss=login.name), 401, None),
            "unknown kid": (login.token(kid="nine"), 401, None),
            "a key of somebody else": (login.token(stranger.keys[0]), 401, "Jwt verification fails"),
            "alg none": (login.unsigned(), 401, None),
            "HS256 with the public key": (login.confused(), 401, None),
            "altered claims": (login.altered(), 401, "Jwt verification fails"),
        }
        found = {name: await ask(traffic, token) for name, (token, _, _) in bad.items()}
        assert {name: each.status for name, each in found.items()} == {
            name: each[1] for name, each in bad.items()
        }
        for name, (_, _, text) in bad.items():
            assert text is None or found[name].text == text, (name, found[name].text)
            assert "default" not in f"{found[name].headers} {found[name].text}", (
                "clients learn no policy's name"
            )
    assert {each.status for each in traffic.seen("api")} == {200}


async def test_which_requests_need_a_token_and_where_it_may_be(traffic: Traffic) -> None:
    login = Issuer()
    elsewhere = (
        ", tokens: [{header: x-token, prefix: 'Token '}, {query: token}, {cookie: session}], forward: false"
    )
    spec = f"""\
  issuers:
{issuer(login)}{issuer(Issuer("urn:apps", login.keys), elsewhere, name="apps")}
  rules:
  - {{match: {{paths: [{{prefix: /public}}], methods: [GET]}}, mode: "off"}}
  - {{match: {{paths: [{{prefix: /open}}]}}, mode: optional}}
  - {{match: {{paths: [{{prefix: /lenient}}]}}, mode: optional, allowInvalid: true}}
  - {{match: {{hosts: [api.default.mesh]}}, mode: required, issuers: [apps]}}
  - {{match: {{headers: [{{name: x-anyone}}]}}, mode: "off"}}
"""
    apps = Issuer("urn:apps", login.keys).token()
    expired, strange = login.token(exp=int(time.time()) - 120), login.token(iss="https://evil.example")
    async with applied_to_all(traffic, policy(spec)):
        for path, token, status in (
            ("/public/a", None, 200),
            ("/public/../secret", None, 401),
            ("/publicity", None, 401),
            ("/public/..%2fsecret", None, 401),
            ("/public//secret", None, 401),
            ("/public/a?b=//", None, 200),
            ("/public", expired, 200),
            ("/open", None, 200),
            ("/open?x=/public", login.token(), 200),
            ("/open", expired, 401),
            ("/open", strange, 401),
            ("/lenient", expired, 200),
            ("/lenient", strange, 200),
            ("/", login.token(), 200),
        ):
            assert (await ask(traffic, token, path)).status == status, (path, token)
        assert (await ask(traffic, None, x_anyone="1")).status == 200
        posted = await traffic.get("http://api.mesh/public", method="POST", body=b"x")
        assert posted.status == 401
        for host in ("api.default.mesh", "api.default.mesh:80"):
            assert (await traffic.get(f"http://{host}/", headers=bearer(login.token()))).status == 401, host
            assert (
                await traffic.get(f"http://{host}/", headers={"x-token": f"Token {apps}"})
            ).status == 200, host
        by_header = await ask(traffic, None, x_token=f"Token {apps}")
        assert (by_header.status, "x-token" in by_header.seen) == (200, False)
        by_query = await ask(traffic, None, f"/q?a=1&token={apps}")
        assert (by_query.status, apps in by_query.json["path"]) == (200, False), by_query.json
        assert (await ask(traffic, None, cookie=f"a=b; session={apps}")).status == 200
        assert (await ask(traffic, apps)).status == 401, "apps are not looked for there"
        two = await ask(traffic, None, f"/?token={login.altered()}", x_token=f"Token {apps}")
        assert two.status == 401, "of several tokens all must be valid"
        both = await ask(traffic, login.token(), x_token=f"Token {login.altered()}")
        assert both.status == 200, "each issuer looks where its own tokens are"


async def test_what_several_policies_say_is_merged_and_the_access_log_names_them(
    traffic: Traffic, tmp_path: Path
) -> None:
    login, path = Issuer(), tmp_path / "access.log"
    far = policy(f"  issuers:\n{issuer(login)}  mode: optional", "{kind: Mesh}", "whole")
    near = policy("  mode: required", API, "near")
    async with applied_to_all(traffic, far + near + "---\n" + access_log(f"  file: {path}\n")):
        assert (await traffic.get("http://store.mesh/")).status == 200
        assert (await traffic.get("http://store.mesh/", headers=bearer("x"))).status == 401
        assert (await ask(traffic, x_request_id="refused")).status == 401
        assert (await ask(traffic, login.token())).status == 200
        line, *_ = await lines(
            path, lambda each: each.get("request_id") == "refused" and each["side"] == "callee", 1
        )
    assert line["policy"] == "RequestAuthentication default/near, default/whole"
    assert line["details"] == "jwt_authn_access_denied{Jwt_is_missing}"
    assert line["reason"] == "no valid token: the details say what is wrong with it"


async def test_grpc_callers_are_told_in_their_own_terms(traffic: Traffic) -> None:
    login = Issuer()
    said = policy(f"  issuers:\n{issuer(login)}", "{kind: Service, name: grpc}")
    async with applied_to_all(traffic, said):
        refused = await traffic.grpc("grpc.mesh")
        assert (refused.code, refused.details) == (grpc.StatusCode.UNAUTHENTICATED, "Jwt is missing")
        assert (await traffic.grpc("grpc.mesh", metadata=bearer(login.token()))).ok


async def test_where_no_issuer_is_trusted_every_token_is_refused(traffic: Traffic) -> None:
    async with applied_to_all(traffic, policy("  mode: required")):
        assert (await ask(traffic)).status == 401
        assert (await ask(traffic, Issuer().token())).status == 401
