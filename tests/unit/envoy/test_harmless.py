"""What users' documents hold does nothing on the host where an Envoy of our own checks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from envoy.harmless import EMPTY, NOWHERE, harmless
from envoy.launcher import validate
from envoy.packing import PREFIX, listen_on, pack
from envoy.tls import SYSTEM_ROOTS
from pb.envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from pb.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from pb.envoy.config.route.v3.route_components_pb2 import RedirectAction, Route
from pb.envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from pb.envoy.extensions.common.matching.v3.extension_matcher_pb2 import (
    ExtensionWithMatcher,
    ExtensionWithMatcherPerRoute,
)
from pb.envoy.extensions.filters.http.composite.v3.composite_pb2 import Composite, ExecuteFilterAction
from pb.envoy.extensions.filters.http.dynamic_modules.v3.dynamic_modules_pb2 import DynamicModuleFilter
from pb.envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from pb.envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from pb.envoy.extensions.string_matcher.lua.v3.lua_pb2 import Lua as LuaMatcher
from pb.envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from pb.xds.type.v3.typed_struct_pb2 import TypedStruct
from policies.lua import is_program, program
from tests.support import binaries


def packed(message: Message) -> Any:
    made = Any()
    pack(made, message)
    return made


def bootstrap_of(
    route: Route | None = None, *filters: Message | Any, log: FileAccessLog | None = None
) -> Bootstrap:
    manager = HttpConnectionManager(stat_prefix="a")
    host = manager.route_config.virtual_hosts.add(name="a", domains=["*"])
    if route is not None:
        route.match.prefix = "/"
        route.redirect.CopyFrom(RedirectAction(host_redirect="a"))
        host.routes.append(route)
    for number, each in enumerate((*filters, Router())):
        config = each if isinstance(each, Any) else packed(each)
        manager.http_filters.append(HttpFilter(name=f"f{number}", typed_config=config))
    if log is not None:
        manager.access_log.append(AccessLog(name="log", typed_config=packed(log)))
    made = Bootstrap()
    listener = made.static_resources.listeners.add(name="a")
    listen_on(listener.address, "127.0.0.1", 1)
    listener.filter_chains.add().filters.add(name="hcm", typed_config=packed(manager))
    return made


def manager_of(bootstrap: Bootstrap) -> HttpConnectionManager:
    config = bootstrap.static_resources.listeners[0].filter_chains[0].filters[0].typed_config
    return HttpConnectionManager.FromString(config.value)


async def shown(bootstrap: Bootstrap, folder: Path) -> None:
    path = folder / "b.pb"
    path.write_bytes(bootstrap.SerializeToString())
    await validate(Path(binaries.envoy()), path)


def per_route(message: Message) -> Route:
    made = Route()
    made.typed_per_filter_config["f0"].CopyFrom(packed(message))
    return made


def script_of(mark: Path) -> str:
    return f'io.open("{mark}", "w"):close() io.popen("touch {mark}"):close() {EMPTY}'


def with_script(script: str) -> list[Bootstrap]:
    """Every way in which Envoy's filter is given one."""
    per = LuaPerRoute()
    per.source_code.inline_string = script
    by_name, by_default = Lua(), Lua()
    by_name.source_codes["a"].inline_string = script
    by_default.default_source_code.inline_string = script
    nested = ExtensionWithMatcher()
    nested.extension_config.name = "lua"
    pack(nested.extension_config.typed_config, by_default)
    return [
        bootstrap_of(per_route(per), Lua()),
        bootstrap_of(None, by_name),
        bootstrap_of(None, by_default),
        bootstrap_of(None, Lua(inline_code=script)),
        bootstrap_of(None, nested),
        bootstrap_of(None, packed(packed(by_default))),
    ]


@pytest.mark.parametrize("way", range(6))
async def test_no_script_is_run_by_an_envoy_here(way: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    made = with_script(script_of(mark))[way]
    assert harmless(made, is_program) == ("envoy.extensions.filters.http.lua.v3.Lua",)
    assert str(mark).encode() not in made.SerializeToString()
    if way < 5:  # Envoy knows no packed Any
        await shown(made, tmp_path)
    assert not mark.exists()


async def test_envoy_would_run_it(tmp_path: Path) -> None:
    """That the test above tests something."""
    mark = tmp_path / "mark"
    await shown(with_script(script_of(mark))[0], tmp_path)
    assert mark.exists()


def test_a_script_of_a_policy_is_replaced_and_nothing_said() -> None:
    per = LuaPerRoute()
    per.source_code.inline_string = program(EMPTY + " --mine", "a")
    made = bootstrap_of(per_route(per), Lua())
    assert harmless(made, is_program) == ()
    assert b"--mine" not in made.SerializeToString()


async def test_modules_are_taken_out_and_the_chain_that_they_are_in_stays(tmp_path: Path) -> None:
    wasm = Wasm()
    wasm.config.vm_config.code.local.filename = "/secret.wasm"
    action = ExecuteFilterAction()
    pack(action.filter_chain.typed_config.add(name="m").typed_config, wasm)
    chain = ExtensionWithMatcherPerRoute()
    chain.xds_matcher.on_no_match.action.name = "m"
    pack(chain.xds_matcher.on_no_match.action.typed_config, action)
    standing = ExtensionWithMatcher()
    standing.extension_config.name = "composite"
    pack(standing.extension_config.typed_config, Composite())
    module = DynamicModuleFilter(filter_name="a")
    module.dynamic_module_config.name = "evil"
    made = bootstrap_of(per_route(chain), standing, module, wasm)
    assert harmless(made, is_program) == (
        "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "envoy.extensions.filters.http.wasm.v3.Wasm",
    )
    assert b"evil" not in made.SerializeToString()
    assert b"secret" not in made.SerializeToString()
    await shown(made, tmp_path)


@pytest.mark.parametrize(
    "name", ["envoy.extensions.of.tomorrow.Thing", "envoy.config.filter.http.lua.v2.Lua"]
)
def test_what_cannot_be_looked_through_is_not_shown(name: str) -> None:
    made = bootstrap_of(None, Any(type_url=PREFIX + name, value=b"evil"))
    assert harmless(made, is_program) == (name,)
    assert b"evil" not in made.SerializeToString()


def test_nor_is_what_envoy_reads_as_another_type() -> None:
    for disguise in (TypedStruct(type_url=PREFIX + Lua.DESCRIPTOR.full_name), Struct()):
        made = bootstrap_of(None, disguise)
        assert harmless(made, is_program) == (disguise.DESCRIPTOR.full_name,)
        assert len(manager_of(made).http_filters) == 1


async def test_no_file_is_opened(tmp_path: Path) -> None:
    route = Route()
    route.response_headers_to_add.add().header.key = "a"
    match = route.match.headers.add(name="a")
    match.string_match.custom.name = "lua"
    matcher = LuaMatcher()
    matcher.source_code.filename = "/etc/evil"
    pack(match.string_match.custom.typed_config, matcher)
    log = FileAccessLog(path=str(tmp_path / "log"))
    log.log_format.text_format_source.filename = "/etc/evil"
    made = bootstrap_of(route, log=log)
    assert set(harmless(made, is_program)) == {
        "envoy.config.core.v3.DataSource.filename",
        "envoy.extensions.string_matcher.lua.v3.Lua",
    }
    assert b"evil" not in made.SerializeToString()
    assert FileAccessLog.FromString(manager_of(made).access_log[0].typed_config.value).path == NOWHERE
    await shown(made, tmp_path)
    assert not (tmp_path / "log").exists()


async def test_a_caller_whose_keys_are_files_of_its_host_is_shown_without_them(tmp_path: Path) -> None:
    tls = UpstreamTlsContext(sni="a")
    own = tls.common_tls_context.tls_certificates.add()
    own.certificate_chain.filename, own.private_key.filename = "/evil/chain", "/evil/key"
    tls.common_tls_context.validation_context.trusted_ca.filename = "/evil/roots"
    made = Bootstrap()
    cluster = made.static_resources.clusters.add(name="a")
    cluster.transport_socket.name = "envoy.transport_sockets.tls"
    pack(cluster.transport_socket.typed_config, tls)
    assert len(harmless(made, is_program)) == 2
    assert b"evil" not in made.SerializeToString()
    if Path(SYSTEM_ROOTS).exists():
        await shown(made, tmp_path)
