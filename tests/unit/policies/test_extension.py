from __future__ import annotations

import json
from dataclasses import replace

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from envoy.seams import NOTHING, Parts
from mesh.service import Protocol
from pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from pb.envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcherPerRoute
from pb.envoy.extensions.filters.http.composite.v3.composite_pb2 import ExecuteFilterAction
from pb.envoy.extensions.filters.http.lua.v3.lua_pb2 import LuaPerRoute
from pb.envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from pb.envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy
from policies.extension import EXAMPLE, KIND, LUA, WASM, join
from policies.lua import joined, program
from tests.support.policy_documents import CALLEE, CALLER, accepted, added, of, on_route, refusals

SCRIPT = "function envoy_on_request(handle) end"
SUM = "ab" * 32


def scripts(parts: Parts) -> dict[str, str]:
    return {
        name.removeprefix(LUA): LuaPerRoute.FromString(config).source_code.inline_string
        for name, config in on_route(parts).items()
        if name.startswith(LUA)
    }


def modules(parts: Parts) -> dict[str, list[TypedExtensionConfig]]:
    found = {}
    for name, config in on_route(parts).items():
        if name.startswith(WASM):
            action, per_route = ExecuteFilterAction(), ExtensionWithMatcherPerRoute.FromString(config)
            per_route.xds_matcher.on_no_match.action.typed_config.Unpack(action)
            found[name.removeprefix(WASM)] = list(action.filter_chain.typed_config)
    return found


def test_a_script_is_the_callees_and_last_by_default() -> None:
    assert scripts(added(KIND, f"lua: {SCRIPT}")) == {"last": program(SCRIPT, "Extension default/p")}
    assert added(KIND, f"lua: {SCRIPT}", CALLER) == NOTHING


def test_the_other_side() -> None:
    assert added(KIND, f"{{side: caller, lua: {SCRIPT}}}") == NOTHING
    assert added(KIND, f"{{side: caller, lua: {SCRIPT}}}", CALLER)


def test_streams_have_no_extensions() -> None:
    assert added(KIND, f"lua: {SCRIPT}", of(CALLEE, Protocol.TCP)) == NOTHING


def test_several_are_one_chain_for_each_stage_in_their_order() -> None:
    def one(policy: str, said: str) -> Parts:
        return added(KIND, f"{{{said}}}", replace(CALLEE, policy=policy))

    several = [
        one("default/c", f"lua: {SCRIPT} --c, order: 0"),
        one("default/b", f"wasm: {{file: /m, sha256: {SUM}}}, order: 5"),
        one("default/a", f"lua: {SCRIPT} --a, order: 0"),
        one("default/d", f"wasm: {{file: /m, sha256: {SUM}}}, order: -5"),
        one("default/e", f"stage: first, lua: {SCRIPT}"),
    ]
    assert {stage: [each.name for each in chain] for stage, chain in modules(join(several)).items()} == {
        "last": ["4995 default/d", "5005 default/b"]
    }
    assert scripts(join(several)) == {
        "first": program(SCRIPT, "Extension default/e"),
        "last": joined(program(f"{SCRIPT} --{name}", f"Extension default/{name}") for name in "ac"),
    }
    assert join(several) == join(several[::-1])


def test_programs_are_joined_by_order_then_name() -> None:
    several = [program("b()", "b", 0), program("c()", "c", -1), program("a()", "a", 0)]
    made = joined(several)
    assert made.index("c()") < made.index("a()") < made.index("b()")
    assert joined([made]) == made


@pytest.mark.parametrize(
    ("config", "said"), [("text", "text"), ('{"b": [1], "a": null}', '{"a":null,"b":[1]}'), ("3", "3")]
)
def test_a_module(config: str, said: str) -> None:
    spec = {"wasm": {"file": "/opt/m.wasm", "sha256": SUM, "rootId": "r", "failure": "allow"}}
    spec["wasm"]["config"] = json.loads(config) if config != "text" else config
    (chain,) = modules(added(KIND, json.dumps(spec))).values()
    made, text = Wasm(), StringValue()
    chain[0].typed_config.Unpack(made)
    made.config.configuration.Unpack(text)
    assert text.value == said
    assert (made.config.name, made.config.root_id) == ("default/p", "r")
    assert made.config.vm_config.code.local.filename == "/opt/m.wasm"
    assert made.config.vm_config.vm_id == SUM
    assert made.config.failure_policy == FailurePolicy.FAIL_OPEN


def test_a_script_cannot_end_the_text_that_holds_it() -> None:
    assert "[=[\nx = a[b[1]]]=]" in program("x = a[b[1]]", "n")
    assert "[==[\nx = [=[]=]]==]" in program("x = [=[]=]", "n")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "side: callee",
            "spec: an extension is either Lua or Wasm. Give exactly one of lua and wasm",
        ),
        (
            f"lua: {SCRIPT}, wasm: {{file: /a, sha256: {SUM}}}",
            "spec: an extension is either Lua or Wasm. Give exactly one of lua and wasm",
        ),
        (
            'lua: "function envoy_on_request(h)\\n  if x the\\nend"',
            "spec.lua: line 2 of the script is not Lua: 'then' expected near 'the'. Envoy's Lua is LuaJIT 2.1, as Lua 5.1",
        ),
        (
            'lua: "print(1)"',
            "spec.lua: the script has no handler. Define envoy_on_request(handle) or envoy_on_response(handle)",
        ),
        (
            'lua: "\\eLJ\\u0002"',
            "spec.lua: the script has control characters in it. Use text: compiled code is not accepted",
        ),
        (
            f"wasm: {{file: m.wasm, sha256: {SUM}}}",
            "spec.wasm.file: 'm.wasm' is not an absolute path. Use the path of the module on the host of the proxy",
        ),
        (
            "wasm: {file: /m.wasm, sha256: ABC}",
            "spec.wasm.sha256: 'ABC' is not a SHA-256. Use 64 hexadecimal digits in lower case, as sha256sum does",
        ),
        ("wasm: {file: /m.wasm}", "spec.wasm.sha256: sha256 is missing. Add it"),
        (f"order: 2000, lua: {SCRIPT}", "spec.order: 2000 is too large. Use 1000 or less"),
        (f"stage: middle, lua: {SCRIPT}", "spec.stage: 'middle' is not known here. Use first or last"),
        (
            f"from: [{{service: web}}], lua: {SCRIPT}",
            "spec.from: the sidecar of who is called runs it for all callers. Remove from, or use side: caller",
        ),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("Extension", spec) == [said]


def test_targets_that_do_not_go_with_a_side() -> None:
    route, workload = "[{kind: HTTPRoute, name: r}]", "[{kind: Workload, name: w}]"
    assert refusals("Extension", f"lua: {SCRIPT}", route) == [
        "spec.side: routes are followed by the caller. Use side: caller, or target a Service"
    ]
    assert refusals("Extension", f"side: caller, lua: {SCRIPT}", workload) == [
        "spec.side: callers do not choose a workload. Target a Service, or use side: callee"
    ]


def test_the_example() -> None:
    accepted(EXAMPLE)
