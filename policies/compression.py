"""Compression: answers, and if wanted requests, are compressed on their way. Enforced by the callee.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/compressor_filter
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from google.protobuf.message import Message
from pydantic import Field

from documents.envelope import Part, Problem
from envoy.packing import pack, type_url
from envoy.seams import NOTHING, FilterOrder, HttpFilter, Parts, serialised
from mesh.targeting import Level
from pb.envoy.extensions.compression.brotli.compressor.v3.brotli_pb2 import Brotli
from pb.envoy.extensions.compression.gzip.compressor.v3.gzip_pb2 import Gzip
from pb.envoy.extensions.compression.zstd.compressor.v3.zstd_pb2 import Zstd
from pb.envoy.extensions.filters.http.compressor.v3.compressor_pb2 import Compressor
from policies.document import PolicyDocument, Targeting
from policies.fields import Positive
from policies.kind import ANYWHERE, PolicyKind, Side, Where

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Compression
metadata: {name: catalogue}
spec:
  targetRefs: [{kind: Service, name: catalogue}]
  algorithms: [zstd, gzip]
  contentTypes: [application/json, text/html]
  minBytes: 512
"""

FILTER: Final = "envoy.filters.http.compressor"
Algorithm = Literal["gzip", "brotli", "zstd"]
LIBRARIES: Final[dict[Algorithm, type[Message]]] = {"gzip": Gzip, "brotli": Brotli, "zstd": Zstd}


class CompressionFields(Part):
    algorithms: list[Algorithm] | None = Field(
        None,
        min_length=1,
        description="What is offered to callers, the preferred one first; the caller's Accept-Encoding decides. By default gzip.",
    )
    content_types: list[str] | None = Field(
        None,
        min_length=1,
        description="Media types that are compressed, by the part before a semicolon. By default text, JSON, JavaScript, XML and SVG "
        "(Envoy's own list).",
    )
    min_bytes: Positive | None = Field(
        None, description="Bodies of fewer bytes are left as they are. By default 30."
    )
    responses: bool | None = Field(None, description="Whether answers are compressed. By default yes.")
    requests: bool | None = Field(
        None,
        description="Whether requests are compressed for the application, with the first algorithm. The application must be able to read "
        "that. By default no.",
    )


class CompressionSpec(Targeting, CompressionFields):
    pass


class Compression(PolicyDocument):
    """Answers and requests that are compressed on their way.

    A new or changed policy reaches connections that are open when they are drained, within 45 seconds.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Compression"]
    spec: CompressionSpec

    def own_problems(self) -> Iterator[Problem]:
        yield from self.callers_not_told_apart()
        algorithms = self.spec.algorithms or []
        for place, algorithm in enumerate(algorithms):
            if algorithm in algorithms[:place]:
                yield Problem(("spec", "algorithms", place), f"{algorithm} is there twice", "Name it once")
        for place, each in enumerate(self.spec.content_types or ()):
            if each.count("/") != 1 or ";" in each or "*" in each or each.strip() != each:
                yield Problem(
                    ("spec", "contentTypes", place),
                    f"{each!r} is not a media type",
                    "Write it like text/html, without parameters and wildcards",
                )


def effect(fields: CompressionFields, where: Where) -> Parts:
    """One filter for each algorithm. A change drains the connections of that port, as every change of a filter chain does."""
    if not where.protocol.is_http:
        return NOTHING
    algorithms: list[Algorithm] = fields.algorithms or ["gzip"]
    if fields.responses is False and not fields.requests:
        return NOTHING
    return Parts(
        http_filters=tuple(
            HttpFilter(
                FilterOrder.COMPRESSION,
                f"{FILTER}.{each}",
                type_url(Compressor),
                serialised(_compressor(fields, each, first=place == 0)),
            )
            for place, each in enumerate(algorithms)
        )
    )


def _compressor(fields: CompressionFields, algorithm: Algorithm, *, first: bool) -> Compressor:
    made = Compressor(choose_first=first)
    made.compressor_library.name = algorithm
    pack(made.compressor_library.typed_config, LIBRARIES[algorithm]())
    for direction, on in (
        (made.response_direction_config, fields.responses is not False),
        (made.request_direction_config, bool(fields.requests) and first),
    ):
        common = direction.common_config
        common.enabled.default_value.value = on
        if on and fields.min_bytes is not None:
            common.min_content_length.value = fields.min_bytes
        if on:
            common.content_type.extend(fields.content_types or ())
    return made


KIND: Final = PolicyKind(Compression, CompressionFields, Side.CALLEE, effect, levels=ANYWHERE - {Level.ROUTE})
