from __future__ import annotations

import pytest

from envoy.seams import NOTHING
from mesh.service import Protocol
from pb.envoy.extensions.filters.http.compressor.v3.compressor_pb2 import Compressor
from policies.compression import EXAMPLE, KIND
from tests.support.policy_documents import CALLEE, accepted, added, of, refusals


def compressors(fields: str) -> dict[str, Compressor]:
    return {
        each.name.rpartition(".")[2]: Compressor.FromString(each.config)
        for each in added(KIND, fields).http_filters
    }


def test_by_default_gzip_for_answers() -> None:
    (made,) = compressors("{minBytes: 100}").values()
    assert made.compressor_library.name == "gzip"
    assert made.response_direction_config.common_config.enabled.default_value.value
    assert made.response_direction_config.common_config.min_content_length.value == 100
    assert not made.request_direction_config.common_config.enabled.default_value.value


def test_one_filter_for_each_algorithm_and_the_first_is_preferred() -> None:
    made = compressors("{algorithms: [zstd, gzip, brotli], contentTypes: [text/html], requests: true}")
    assert list(made) == ["zstd", "gzip", "brotli"]
    assert [each.choose_first for each in made.values()] == [True, False, False]
    requests = [each.request_direction_config.common_config for each in made.values()]
    assert [each.enabled.default_value.value for each in requests] == [True, False, False]
    assert list(requests[0].content_type) == ["text/html"]


def test_nothing_to_compress() -> None:
    assert added(KIND, "{responses: false}") == NOTHING
    assert added(KIND, "{algorithms: [gzip]}", of(CALLEE, Protocol.TCP)) == NOTHING


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("algorithms: []", "spec.algorithms: the list is empty. Give at least 1"),
        (
            "algorithms: [deflate]",
            "spec.algorithms[0]: 'deflate' is not known here. Use gzip, brotli or zstd",
        ),
        ("algorithms: [gzip, gzip]", "spec.algorithms[1]: gzip is there twice. Name it once"),
        (
            "contentTypes: [text]",
            "spec.contentTypes[0]: 'text' is not a media type. Write it like text/html, without parameters and wildcards",
        ),
        (
            "contentTypes: ['text/*']",
            "spec.contentTypes[0]: 'text/*' is not a media type. Write it like text/html, without parameters and wildcards",
        ),
        ("minBytes: 0", "spec.minBytes: 0 is too small. Use 1 or more"),
        ("requests: 'yes'", "spec.requests: 'yes' is text. Give true or false"),
        (
            "from: [{service: web}]",
            "spec.from: a Compression holds for all callers: it cannot tell them apart. Remove from",
        ),
    ],
)
def test_wrong_documents(spec: str, said: str) -> None:
    assert refusals("Compression", spec) == [said]


def test_the_example() -> None:
    accepted(EXAMPLE)
