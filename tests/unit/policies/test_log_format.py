"""Each of these was given to Envoy 1.40.0 with `--mode validate`: what is right here it takes, what is wrong it refuses."""

from __future__ import annotations

import pytest

from policies.log_format import WITHOUT_ARGUMENT, fault


@pytest.mark.parametrize(
    "text",
    [
        "%PROTOCOL%%DURATION%", "%%%PROTOCOL%", "%PROTOCOL%%%", "100%%", "%PROTOCOL()%",
        "%REQ(x)%", "%REQ(x):5%", "%REQ(x):999999999%", "%REQ(x?y):5%", "%REQ(?y)%", "%REQ(x?)%",
        "%REQ(:METHOD)%", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "%RESP(!#$%&'*+-.^_`|~)%", "%TRAILER(x):3%",
        "%COMMON_DURATION(DS_RX_BEG:DS_TX_END)%", "%COMMON_DURATION(DS_RX_BEG:own:us)%",
        "%GRPC_STATUS%", "%GRPC_STATUS()%", "%GRPC_STATUS(CAMEL_STRING)%", "%GRPC_STATUS(NUMBER)%",
        "%PATH%", "%PATH:5%", "%PATH(WQ)%", "%PATH(WQ:)%", "%PATH(:PATH)%", "%PATH(NQ:ORIG_OR_PATH):4%",
        "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%", "%START_TIME(%s)% %EMIT_TIME%",
        "%ENVIRONMENT(X):5%", "%QUERY_PARAM(x):5%", "%DYNAMIC_METADATA(a:b):5%",
    ],
)  # fmt: skip
def test_what_envoy_takes(text: str) -> None:
    assert fault(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%%PROTOCOL%", "a % that begins no operator"),
        ("%PROTOCOL%PROTOCOL%", "a % that begins no operator"),
        ("%PROTOCOL:3%", "%PROTOCOL% takes no length: remove :3"),
        ("%DURATION:5%", "%DURATION% takes no length"),
        ("%START_TIME(%Y):5%", "%START_TIME% takes no length"),
        ("%EMIT_TIME:5%", "%EMIT_TIME% takes no length"),
        ("%GRPC_STATUS(NUMBER):3%", "%GRPC_STATUS% takes no length"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us):4%", "%COMMON_DURATION% takes no length"),
        ("%REQ(x):99999999999999999999%", "the length of %REQ% has more than 9 digits"),
        ("%START_TIME(%n)%", "%START_TIME% may not begin a new line"),
        ("%EMIT_TIME(%En)%", "%EMIT_TIME% may not begin a new line"),
        ("%COMMON_DURATION(A)%", "%COMMON_DURATION% takes from:to"),
        ("%COMMON_DURATION(x:y:z)%", "%COMMON_DURATION% takes from:to"),
        ("%COMMON_DURATION(A:B:)%", "%COMMON_DURATION% takes from:to"),
        ("%COMMON_DURATION(A:B:ns:x)%", "%COMMON_DURATION% takes from:to"),
        ("%GRPC_STATUS(ZZ)%", "%GRPC_STATUS% takes CAMEL_STRING"),
        ("%GRPC_STATUS(camel_string)%", "%GRPC_STATUS% takes CAMEL_STRING"),
        ("%PATH(ZZ:QQ)%", "%PATH% takes WQ or NQ"),
        ("%PATH(wq)%", "%PATH% takes WQ or NQ"),
        ("%PATH(WQ:QQ)%", "%PATH% takes WQ or NQ"),
        ("%REQ(é:256)%", "'é:256' is not the name of a header"),
        ("%REQ(a b)%", "'a b' is not the name of a header"),
        ("%RESP(a b)%", "'a b' is not the name of a header"),
        ("%TRAILER(a b)%", "'a b' is not the name of a header"),
        ("%REQ(x?a b)%", "'a b' is not the name of a header"),
        ("%REQ( )%", "' ' is not the name of a header"),
        ("%REQ(:)%", "':' is not the name of a header"),
        ("%REQ(x/y)%", "'x/y' is not the name of a header"),
        ("%REQ(x)()%", "'x)(' is not the name of a header"),
        ("%REQ(x?y?z)%", "%REQ% takes a header and one other"),
    ],
)
def test_what_envoy_refuses(text: str, said: str) -> None:
    found = fault(text)
    assert found is not None
    assert found.startswith(said)


@pytest.mark.parametrize("name", sorted(WITHOUT_ARGUMENT))
def test_what_takes_no_argument_takes_no_length(name: str) -> None:
    assert fault(f"%{name}%") is None
    assert fault(f"%{name}:5%") == f"%{name}% takes no length: remove :5"
