"""Extension: code of the user's own on the way of requests, as Lua or Wasm. Enforced by the callee or the caller, as it says.

Filters stand disabled at two places of every connection manager; a route that has extensions enables them with what they are to run, so
that to add one changes routes only.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/composite_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/lua_filter
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/wasm_filter
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal

from google.protobuf.wrappers_pb2 import StringValue
from pydantic import AfterValidator, Field, JsonValue

from documents.envelope import Part, Problem, wrong
from envoy.packing import pack, type_url
from envoy.seams import NOTHING, FilterOrder, HttpFilter, Parts, serialised
from pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.extensions.common.matching.v3.extension_matcher_pb2 import (
    ExtensionWithMatcher,
    ExtensionWithMatcherPerRoute,
)
from pb.envoy.extensions.filters.http.composite.v3.composite_pb2 import Composite, ExecuteFilterAction
from pb.envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from pb.envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from pb.envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy
from policies.document import PolicyDocument, Targeting
from policies.kind import PolicyKind, Side, Where
from policies.lua import joined, program
from policies.lua import problem as lua_problem

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Extension
metadata: {name: served-by}
spec:
  targetRefs: [{kind: Service, name: api}]
  side: callee
  lua: |
    function envoy_on_response(handle)
      handle:headers():replace("x-served-by", "api")
    end
"""

MAX_CODE: Final = 64 * 1024
"""Characters of a script. It is a part of every route that runs it."""

LUA: Final = "meshwright.lua."
WASM: Final = "meshwright.wasm."
STAGES: Final = {"first": FilterOrder.EXTENSION_FIRST, "last": FilterOrder.EXTENSION_LAST}
"""Their filters are named by one of the above and one of these. Of one stage, scripts come before modules, by these names."""


def _standing(order: FilterOrder, stage: str) -> Iterator[HttpFilter]:
    yield HttpFilter(order, LUA + stage, type_url(Lua), b"", disabled=True)
    # A module cannot be said on a route; what is said there is which filters another one runs.
    made = ExtensionWithMatcher()
    made.extension_config.name = "composite"
    pack(made.extension_config.typed_config, Composite())
    yield HttpFilter(order, WASM + stage, type_url(ExtensionWithMatcher), serialised(made), disabled=True)


FILTERS: Final = tuple(each for stage, order in STAGES.items() for each in _standing(order, stage))


def _script(text: str) -> str:
    if len(text) > MAX_CODE:
        raise wrong(f"the script has {len(text)} characters", f"Use at most {MAX_CODE}, or Wasm")
    found = lua_problem(text)
    if found is not None:
        raise wrong(*found)
    return text


def _file(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise wrong(
            f"{text!r} is not an absolute path", "Use the path of the module on the host of the proxy"
        )
    return text


def _sha256(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise wrong(
            f"{text!r} is not a SHA-256", "Use 64 hexadecimal digits in lower case, as sha256sum does"
        )
    return text


class WasmFields(Part):
    file: Annotated[str, AfterValidator(_file)] = Field(
        description="The module, a path on the host of the proxy. It must be there before the policy is: while it is not, the proxy "
        "refuses the routes, which stay as they were, and the status says so."
    )
    sha256: Annotated[str, AfterValidator(_sha256)] = Field(
        description="Of the module. Another value makes proxies read the file again; it is not compared with the file."
    )
    config: JsonValue = Field(None, description="What the module is configured with: JSON, or text as it is.")
    root_id: str = Field("", description="Which of several plugins of the module is meant.")
    failure: Literal["allow", "deny"] = Field(
        "deny",
        description="What becomes of requests once the module has failed: deny answers them with 503, allow lets them pass.",
    )


class ExtensionFields(Part):
    side: Literal["caller", "callee"] | None = Field(
        None,
        description="Whose sidecar runs it: the caller's, or the one of who is called. By default callee.",
    )
    stage: Literal["first", "last"] | None = Field(
        None,
        description="Before all that the mesh does itself to a request, or after. By default last. Answers pass the other way round.",
    )
    order: Annotated[int, Field(ge=-1000, le=1000)] | None = Field(
        None,
        description="Among the extensions of one stage: lower ones see a request first, ties by namespace and name, and scripts come before modules. By default 0.",
    )
    lua: Annotated[str, AfterValidator(_script)] | None = Field(
        None,
        description="A script of LuaJIT that defines envoy_on_request, envoy_on_response or both. Its syntax is checked here. One that fails as "
        "it is loaded does nothing but say so in the proxy's log, and so does one that fails on a request, which goes on. It has Lua's string, "
        "table, math, bit and coroutine, and what Envoy's handle gives; nothing that reaches the host: no io, os, require, ffi, debug or load.",
    )
    wasm: WasmFields | None = Field(
        None,
        description="A module of Proxy-Wasm. Either this or lua. Needs Envoy 1.37 or newer.",
    )


class ExtensionSpec(Targeting, ExtensionFields):
    pass


class Extension(PolicyDocument):
    """Code of your own on the way of requests."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Extension"]
    spec: ExtensionSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        if (spec.lua is None) == (spec.wasm is None):
            yield Problem(("spec",), "an extension is either Lua or Wasm", "Give exactly one of lua and wasm")
        kinds = {each.kind for each in spec.target_refs}
        if spec.side == "caller":
            if "Workload" in kinds:
                yield Problem(
                    ("spec", "side"),
                    "callers do not choose a workload",
                    "Target a Service, or use side: callee",
                )
        else:
            if spec.from_:
                yield Problem(
                    ("spec", "from"),
                    "the sidecar of who is called runs it for all callers",
                    "Remove from, or use side: caller",
                )
            if any(each.endswith("Route") for each in kinds):
                yield Problem(
                    ("spec", "side"),
                    "routes are followed by the caller",
                    "Use side: caller, or target a Service",
                )


def effect(fields: ExtensionFields, where: Where) -> Parts:
    wanted = Side.CALLER if fields.side == "caller" else Side.CALLEE
    if where.side is not wanted or not where.protocol.is_http:
        return NOTHING
    stage, order = fields.stage or "last", fields.order or 0
    if fields.lua is not None:
        return _scripts(LUA + stage, [program(fields.lua, f"Extension {where.policy}", order)])
    if fields.wasm is not None:
        made = TypedExtensionConfig(name=f"{5000 + order} {where.policy}")  # what several are sorted by
        _wasm(made, where.policy, fields.wasm)
        return _modules(WASM + stage, [made])
    return NOTHING


def _wasm(made: TypedExtensionConfig, policy: str, fields: WasmFields) -> None:
    wasm = Wasm()
    plugin = wasm.config
    plugin.name = policy
    plugin.root_id = fields.root_id
    plugin.vm_config.vm_id = fields.sha256
    plugin.vm_config.runtime = "envoy.wasm.runtime.v8"
    plugin.vm_config.code.local.filename = fields.file
    if fields.config is not None:
        given = fields.config
        text = given if isinstance(given, str) else json.dumps(given, sort_keys=True, separators=(",", ":"))
        pack(plugin.configuration, StringValue(value=text))
    plugin.failure_policy = (
        FailurePolicy.FAIL_OPEN if fields.failure == "allow" else FailurePolicy.FAIL_CLOSED
    )
    pack(made.typed_config, wasm)


def join(several: Sequence[Parts]) -> Parts:
    """One program and one chain of modules for each stage, in order."""
    programs: dict[str, list[str]] = {}
    chains: dict[str, list[TypedExtensionConfig]] = {}
    for parts in several:
        for name, config in Route.FromString(parts.route).typed_per_filter_config.items():
            if name.startswith(LUA):
                scripts = LuaPerRoute()
                config.Unpack(scripts)
                programs.setdefault(name, []).append(scripts.source_code.inline_string)
            else:
                per_route, action = ExtensionWithMatcherPerRoute(), ExecuteFilterAction()
                config.Unpack(per_route)
                per_route.xds_matcher.on_no_match.action.typed_config.Unpack(action)
                chains.setdefault(name, []).extend(action.filter_chain.typed_config)
    found = NOTHING
    for name, of_stage in sorted(programs.items()):
        found += _scripts(name, of_stage)
    for name, chain in sorted(chains.items()):
        found += _modules(name, chain)
    return found


def _scripts(filter_name: str, programs: Sequence[str]) -> Parts:
    """A route on which the standing filter runs them all."""
    route, made = Route(), LuaPerRoute()
    made.source_code.inline_string = joined(programs)
    pack(route.typed_per_filter_config[filter_name], made)
    return Parts(route=serialised(route))


def _modules(filter_name: str, chain: Sequence[TypedExtensionConfig]) -> Parts:
    """A route on which the standing filter runs `chain`, whatever the request."""
    action, per_route, route = ExecuteFilterAction(), ExtensionWithMatcherPerRoute(), Route()
    action.filter_chain.typed_config.extend(sorted(chain, key=lambda each: each.name))
    to = per_route.xds_matcher.on_no_match.action
    to.name = "extensions"
    pack(to.typed_config, action)
    pack(route.typed_per_filter_config[filter_name], per_route)
    return Parts(route=serialised(route))


KIND: Final = PolicyKind(
    Extension,
    ExtensionFields,
    Side.CALLER | Side.CALLEE,
    effect,
    filters=FILTERS,
    union=True,
    join=join,
)
