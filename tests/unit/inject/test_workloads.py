from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inject.errors import NotInjectable
from inject.options import InjectOptions
from inject.workloads import PODS, injected

OPTIONS = InjectOptions(image="meshwright:dev")
TEXT = st.text("a1-/", max_size=3)
ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(0, 70_000) | TEXT | st.just([]) | st.just({})
)


def perhaps(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A mapping with some of the fields, now and then with something else in one of them, or something else altogether."""
    return st.fixed_dictionaries(
        {}, optional={name: st.one_of(each, each, each, ANYTHING) for name, each in fields.items()}
    )


HANDLERS = perhaps(
    httpGet=perhaps(
        port=ANYTHING,
        path=TEXT,
        host=TEXT,
        scheme=TEXT,
        httpHeaders=st.lists(perhaps(name=TEXT, value=TEXT), max_size=1),
    ),
    grpc=perhaps(port=ANYTHING, service=TEXT),
    tcpSocket=perhaps(port=ANYTHING),
    timeoutSeconds=st.integers(1, 5),
)
CONTAINERS = st.lists(
    perhaps(
        name=TEXT,
        ports=st.lists(perhaps(name=TEXT, containerPort=st.integers(1, 80)), max_size=2),
        livenessProbe=HANDLERS,
        lifecycle=perhaps(preStop=HANDLERS, postStart=HANDLERS),
        securityContext=perhaps(runAsUser=st.integers()),
        restartPolicy=st.just("Always"),
    ),
    max_size=2,
)
LABELS = st.dictionaries(
    st.sampled_from(("meshwright.dev/inject", "meshwright.dev/dns", "meshwright.dev/exclude-inbound-ports")),
    st.sampled_from(("true", "80", "enabled", "disabled")) | ANYTHING,
    max_size=1,
)
BODIES = perhaps(
    metadata=perhaps(labels=LABELS, annotations=LABELS),
    spec=perhaps(
        containers=CONTAINERS,
        initContainers=CONTAINERS,
        volumes=st.lists(perhaps(name=TEXT), max_size=1),
        terminationGracePeriodSeconds=st.integers(0, 5),
        securityContext=perhaps(runAsUser=st.integers()),
        nodeSelector=perhaps(a=TEXT),
        hostNetwork=st.booleans(),
    ),
)


@given(BODIES)
def test_whatever_a_file_holds_it_is_injected_or_told_why_not(body: Any) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod"} | body
    with contextlib.suppress(NotInjectable):  # and nothing else
        once = injected(pod, OPTIONS).value
        assert injected(once, OPTIONS).value is once


@pytest.mark.parametrize(("kind", "path"), PODS.items())
def test_each_kind_has_its_pod_injected_and_nothing_else_changed(
    kind: tuple[str, str], path: tuple[str, ...]
) -> None:
    pod: Any = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app"}]}}
    made: Any = pod
    for part in reversed(path):
        made = {part: made, "besides": part}
    manifest = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": "a"}} | made
    found: Any = injected(manifest, OPTIONS).value
    for part in path:
        assert found["besides"] == part
        found = found[part]
    assert [each["name"] for each in found["spec"]["initContainers"]] == [
        "meshwright-intercept",
        "meshwright-proxy",
    ]


def test_a_kind_of_another_group_is_not_looked_into() -> None:
    manifest = {"apiVersion": "example.com/v1", "kind": "Deployment"}
    assert injected(manifest, OPTIONS).value is manifest


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ({"metadata": {"annotations": {"meshwright.dev/dns": True}}}, r"metadata.annotations: .*put it in quotes"),
        ({"spec": {"containers": [{}]}}, r"spec.containers\[0\] has no name"),
        ({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": "80"}]}]}}, r"ports\[0\].containerPort"),
        ({"spec": {"containers": {}}}, "spec.containers is not a list"),
    ],
)  # fmt: skip
def test_what_is_no_pod_is_told_with_the_field(pod: dict[str, Any], said: str) -> None:
    with pytest.raises(NotInjectable, match=said):
        injected({"apiVersion": "v1", "kind": "Pod", "spec": {}} | pod, OPTIONS)
