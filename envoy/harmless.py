"""Takes out of a bootstrap what would have the Envoy that checks it run code of users, or open files that they name.

`envoy --mode validate` runs a Lua script's top level, loads modules and opens files, as the user that it runs as: on the control plane's host
that is who holds the mesh's keys, while the documents are of anybody who may write one. So an Envoy of our own is shown a configuration
without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf import any_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from envoy.check import message_type
from envoy.packing import pack
from envoy.tls import SYSTEM_ROOTS
from pb.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from pb.envoy.config.core.v3.base_pb2 import DataSource
from pb.envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from pb.envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from pb.envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    TlsCertificate,
)

EMPTY: Final = "function envoy_on_request(handle) end"
"""What stands for every script."""

NOWHERE: Final = "/dev/null"
"""Where access logs go: Envoy opens, and makes, their files."""

CODE: Final = re.compile(r"(^|[._])(lua|wasm|dynamic_modules?|golang|dynamic_ot)([._]|$)")
"""In the names of types that load code, of any version of Envoy. Of Lua's filter, what it runs is replaced instead."""

HTTP_FILTERS: Final = "envoy.extensions.filters.http."

DISGUISES: Final = frozenset(
    {"xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct", "google.protobuf.Struct"}
)
"""Envoy reads these as messages of another type: what is in them is not looked through here."""

FILES: Final = frozenset(
    f"envoy.{name}"
    for name in (
        "config.core.v3.ConfigSource.path",
        "config.core.v3.GrpcService.GoogleGrpc.CallCredentials.StsService.actor_token_path",
        "config.core.v3.GrpcService.GoogleGrpc.CallCredentials.StsService.subject_token_path",
        "config.core.v3.HealthCheck.event_log_path",
        "config.core.v3.PathConfigSource.path",
        "config.core.v3.SocketAddress.network_namespace_filepath",
        "config.core.v3.WatchedDirectory.path",
        "config.tap.v3.FilePerTapSink.path_prefix",
        "config.trace.v3.DynamicOtConfig.library",
        "config.trace.v3.LightstepConfig.access_token_file",
        "extensions.common.aws.v3.CredentialsFileCredentialProvider.profile",
        "extensions.filters.http.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder.descriptor_path",
        "extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder.proto_descriptor",
        "extensions.geoip_providers.maxmind.v3.MaxMindConfig.anon_db_path",
        "extensions.geoip_providers.maxmind.v3.MaxMindConfig.asn_db_path",
        "extensions.geoip_providers.maxmind.v3.MaxMindConfig.city_db_path",
        "extensions.geoip_providers.maxmind.v3.MaxMindConfig.country_db_path",
        "extensions.geoip_providers.maxmind.v3.MaxMindConfig.isp_db_path",
        "extensions.grpc_service.call_credentials.sts_service.v3.StsServiceCredentials.actor_token_path",
        "extensions.grpc_service.call_credentials.sts_service.v3.StsServiceCredentials.subject_token_path",
        "extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink.event_log_path",
        "extensions.http.cache.file_system_http_cache.v3.FileSystemHttpCacheConfig.cache_path",
        "extensions.http.cache_v2.file_system_http_cache.v3.FileSystemHttpCacheV2Config.cache_path",
        "extensions.key_value.file_based.v3.FileBasedKeyValueStoreConfig.filename",
        "extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig.filename",
        "extensions.transport_sockets.tls.v3.TlsKeyLog.path",
        "extensions.watchdog.profile_action.v3.ProfileActionConfig.profile_path",
    )
)
"""Fields of text that name a file or a directory."""

DISPENSABLE: Final = frozenset(
    f"envoy.{name}"
    for name in (
        "config.core.v3.DataSource.watched_directory",
        "config.core.v3.HealthCheck.event_log_path",
        "config.core.v3.SocketAddress.network_namespace_filepath",
        "extensions.transport_sockets.tls.v3.CertificateValidationContext.watched_directory",
        "extensions.transport_sockets.tls.v3.CommonTlsContext.key_log",
        "extensions.transport_sockets.tls.v3.TlsCertificate.watched_directory",
    )
)
"""Fields without which the rest means the same to who checks it."""


def harmless(bootstrap: Bootstrap, compiled: Callable[[str], bool]) -> tuple[str, ...]:
    """Take out of the listeners and clusters of `bootstrap` all that loads code or names a file, and tell what it was: types and fields.

    Where what is taken out cannot be missed, the element of a list goes that it is in. Scripts that are `compiled`, known to be read by Envoy,
    are not told, nor are access logs: their replacement changes nothing that Envoy would say.
    """
    resources = bootstrap.static_resources
    resources.DiscardUnknownFields()  # of which nobody here knows what they mean
    walk = _Walk(compiled)
    walk.each(resources.listeners)
    walk.each(resources.clusters)
    return tuple(sorted(walk.told))


class _TakeOut(Exception):
    """No error: it goes up to the list that can do without."""


class _Walk:
    def __init__(self, compiled: Callable[[str], bool]) -> None:
        self._compiled = compiled
        self.told: set[str] = set()

    def each(self, values: Any) -> None:
        for place in reversed(range(len(values))):
            try:
                self._message(values[place])
            except _TakeOut:
                del values[place]

    def _map(self, values: Any) -> None:
        for key in tuple(values):
            try:
                self._message(values[key])
            except _TakeOut:
                del values[key]

    def _message(self, message: Message) -> None:
        """Raises _TakeOut if `message` cannot be shown."""
        if isinstance(message, any_pb2.Any):
            self._packed(message)
            return
        if isinstance(message, DataSource):
            self._source(message)
        elif isinstance(message, Lua):
            self._lua(message)
            return
        elif isinstance(message, LuaPerRoute):
            self._lua_of_route(message)
            return
        elif isinstance(message, FileAccessLog):
            message.path = NOWHERE
        elif isinstance(message, TlsCertificate):
            self._certificate(message)
        elif isinstance(message, CertificateValidationContext) and _named(message.trusted_ca):
            self.told.add(f"{CertificateValidationContext.DESCRIPTOR.full_name}.trusted_ca")
            message.trusted_ca.filename = SYSTEM_ROOTS
        for field, value in message.ListFields():
            self._field(message, field, value)

    def _field(self, message: Message, field: FieldDescriptor, value: Any) -> None:
        name = field.full_name
        if field.message_type is None:
            if name not in FILES:
                return
            self.told.add(name)
            if name not in DISPENSABLE:
                raise _TakeOut
            message.ClearField(field.name)
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                self._map(value)
        elif field.is_repeated:
            self.each(value)
        else:
            try:
                self._message(value)
            except _TakeOut:
                if name not in DISPENSABLE:
                    raise
                message.ClearField(field.name)

    def _packed(self, holder: any_pb2.Any) -> None:
        name = holder.type_url.rpartition("/")[2]
        filters = name in (Lua.DESCRIPTOR.full_name, LuaPerRoute.DESCRIPTOR.full_name)
        if name in DISGUISES or (CODE.search(name) and not filters):
            self._without(holder, name)
            return
        try:
            inner = GetMessageClass(message_type(holder.type_url))()
            inner.ParseFromString(holder.value)
        except (KeyError, DecodeError):  # what nobody here can look through is not shown
            self._without(holder, name)
            return
        inner.DiscardUnknownFields()
        self._message(inner)
        pack(holder, inner)

    def _without(self, holder: any_pb2.Any, name: str) -> None:
        self.told.add(name)
        if not name.startswith(HTTP_FILTERS) or "Route" in name:
            raise _TakeOut
        # A chain of HTTP filters may have to have one: another one does.
        stand_in = Lua()
        stand_in.default_source_code.inline_string = EMPTY
        pack(holder, stand_in)

    def _certificate(self, certificate: TlsCertificate) -> None:
        """A caller without its own is as good as one with it, where nobody calls."""
        if _named(certificate.certificate_chain) or _named(certificate.private_key):
            self.told.add(TlsCertificate.DESCRIPTOR.full_name)
            raise _TakeOut

    def _source(self, source: DataSource) -> None:
        if _named(source):
            self.told.add(f"{DataSource.DESCRIPTOR.full_name}.{source.WhichOneof('specifier')}")
            source.inline_string = ""

    def _lua(self, lua: Lua) -> None:
        if lua.inline_code:
            self._script(lua.inline_code)
            lua.inline_code = EMPTY
        for source in lua.source_codes.values():
            self._code(source)
        if lua.HasField("default_source_code"):
            self._code(lua.default_source_code)

    def _lua_of_route(self, lua: LuaPerRoute) -> None:
        if lua.HasField("source_code"):
            self._code(lua.source_code)

    def _code(self, source: DataSource) -> None:
        if source.WhichOneof("specifier") == "inline_string":
            self._script(source.inline_string)
        else:
            self.told.add(Lua.DESCRIPTOR.full_name)
        source.Clear()
        source.inline_string = EMPTY

    def _script(self, script: str) -> None:
        if not self._compiled(script):
            self.told.add(Lua.DESCRIPTOR.full_name)


def _named(source: DataSource) -> bool:
    """Whether its content is elsewhere on the host. The system's own roots are everybody's."""
    return bool(source.environment_variable or source.filename not in ("", SYSTEM_ROOTS))
