from __future__ import annotations

import pytest

from documents.kinds import KINDS
from documents.parsing import parse
from mesh.names import Key
from mesh.secrets import SecretFiles


def read(spec: str, kind: str = "Secret") -> tuple[list[object], list[str]]:
    text = f"apiVersion: meshwright.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    parsed = parse("a.yaml", text.encode(), KINDS)
    return [each.value for each in parsed.documents], [str(each) for each in parsed.errors]


def test_files_are_named_and_not_read() -> None:
    values, errors = read("{certificateFile: a.pem, keyFile: /keys/a.key, authoritiesFile: ca.pem}")
    assert not errors
    assert values == [SecretFiles(Key("default", "a"), "a.pem", "/keys/a.key", "ca.pem")]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("{}", "no file is named"),
        ("{certificateFile: a.pem}", "keyFile is missing"),
        ("{keyFile: a.key}", "certificateFile is missing"),
        ("{certificateFile: '', keyFile: a.key}", "this is no path"),
        ("{certificateFile: a.pem, keyFile: a.key, data: {}}", "data"),
    ],
)
def test_what_is_wrong_is_told(spec: str, told: str) -> None:
    _, (error,) = read(spec)
    assert told in error


def test_a_key_that_was_pasted_is_refused_and_never_repeated() -> None:
    _, errors = read('{certificateFile: a.pem, keyFile: "-----BEGIN PRIVATE KEY-----\\nc2VjcmV0\\n"}')
    assert "Put the PEM text into a file" in errors[0]
    assert "c2VjcmV0" not in "".join(errors)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("services", "[api]"),
        ("ports", "[{name: http, app: 9001, sidecar: 15101}]"),
        ("uses", "[api]"),
        ("interception", "{}"),
    ],
)
def test_a_workload_that_plays_a_gateway_is_nothing_else(field: str, given: str) -> None:
    _, errors = read(f"{{gateway: edge, address: 127.0.0.1, {field}: {given}}}", "Workload")
    assert any(f"a workload that plays a gateway has no {field}" in each for each in errors), errors


def test_a_workload_that_plays_a_gateway_has_a_proxy() -> None:
    (workload,), errors = read("{gateway: edge, address: 127.0.0.1}", "Workload")
    assert not errors
    assert (workload.gateway, workload.meshed) == (Key("default", "edge"), True)  # type: ignore[attr-defined]
