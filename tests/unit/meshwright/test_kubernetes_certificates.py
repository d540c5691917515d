"""Certificates of Secrets and ConfigMaps: what of them is kept, what is in force of it, and that nothing of it is told."""

from __future__ import annotations

import base64
import random
import time
from pathlib import Path
from typing import Any

import pytest

from inject.options import InjectOptions
from kube.access import ClusterOptions
from kube.client import Cluster
from kube.following import Cause, Failed, Recovered, Replaced
from kube.resource import ObjectName
from mesh.gateway_references import Role
from mesh.names import Key
from meshwright.certificates import Held
from meshwright.kubernetes.certificates import ClusterCertificates, Content, Reference, _Watch, held, together
from meshwright.kubernetes.gateway_manifests import GatewayOptions, label_value, object_name
from meshwright.kubernetes.gateway_objects import kept
from meshwright.kubernetes.gateway_parameters import BadParameters, with_parameters
from meshwright.kubernetes.secret_data import content
from tests.support.traffic.edge import PublicAuthority

A = Key("default", "a")
SECRET: Reference = ("Secret", A)
CONFIG_MAP: Reference = ("ConfigMap", A)
OPTIONS = GatewayOptions(InjectOptions(image="meshwright:1"))


def a_secret(tmp_path: Path, authority: PublicAuthority) -> Content:
    authority.issue(tmp_path / "a.pem", tmp_path / "a.key", "a.example.com")
    data = {"tls.crt": (tmp_path / "a.pem").read_bytes(), "tls.key": (tmp_path / "a.key").read_bytes()}
    encoded = {name: base64.b64encode(each).decode() for name, each in data.items()}
    found = content({"type": "kubernetes.io/tls", "data": {**encoded, "password": "aGk="}})
    assert found == data
    return Content(tuple(sorted(found.items())))


def test_a_certificate_is_taken_and_stays_when_it_is_replaced_by_nonsense(tmp_path: Path) -> None:
    found = a_secret(tmp_path, PublicAuthority())
    first = held(SECRET, {Role.CERTIFICATE}, found)
    assert (first.certificate is not None, first.problem) == (True, "")
    broken = Content((("tls.crt", b"Hello world\n"), ("tls.key", b"Hello world\n")))
    kept_on = held(SECRET, {Role.CERTIFICATE}, broken, first)
    assert kept_on.certificate == first.certificate
    assert kept_on.problem == "Secret default/a, data tls.crt holds no certificates in PEM: replace it"
    alone = held(SECRET, {Role.CERTIFICATE}, broken)
    assert (alone.certificate, bool(alone.problem)) == (None, True)
    away = held(SECRET, {Role.CERTIFICATE}, None, first, trouble="403")
    assert (away.certificate, away.problem) == (first.certificate, "403")
    gone = held(SECRET, {Role.CERTIFICATE}, None, first)
    assert (gone.certificate, gone.problem) == (None, "there is no Secret default/a in the cluster")


def test_authorities_that_are_replaced_are_trusted_no_more() -> None:
    authority = PublicAuthority()
    found = content({"data": {"ca.crt": authority.pem.decode(), "other": "x"}})
    assert list(found) == ["ca.crt"]
    first = held(CONFIG_MAP, {Role.AUTHORITY}, Content(tuple(found.items())))
    assert (first.authorities is not None, first.problem) == (True, "")
    for replaced in (Content(()), Content((("ca.crt", b"nonsense"),))):
        after = held(CONFIG_MAP, {Role.AUTHORITY}, replaced, first)
        assert (after.authorities, bool(after.problem)) == (None, True)
    assert held(CONFIG_MAP, {Role.AUTHORITY}, None, seen=False).problem == "ConfigMap default/a is being read"


def test_of_a_secret_and_a_config_map_of_one_name_the_secret_counts() -> None:
    one, other = Held(problem="secret"), Held(problem="config map")
    assert together({SECRET: one, CONFIG_MAP: other}) == {A: one}
    assert together({CONFIG_MAP: other}) == {A: other}


def test_nothing_of_what_they_hold_is_shown(tmp_path: Path) -> None:
    found = a_secret(tmp_path, PublicAuthority())
    first = held(SECRET, {Role.CERTIFICATE}, found)
    assert "BEGIN" not in f"{found!r} {first.problem!r}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"serviceType": "Odd"}, "data.serviceType: 'Odd' is none of LoadBalancer, NodePort, ClusterIP"),
        ({"replicas": "-1"}, "data.replicas: '-1' is not a number from 0 to 1000"),
        ({"memory": "much"}, "data.memory: 'much' is not a quantity"),
        ({"replica": "1"}, "data.replica is not known: there are serviceType, replicas"),
    ],
)
def test_parameters_that_cannot_be_name_their_field(data: dict[str, str], said: str) -> None:
    with pytest.raises(BadParameters) as raised:
        with_parameters(OPTIONS, data)
    assert said in str(raised.value)


def test_parameters_change_what_they_name() -> None:
    made = with_parameters(OPTIONS, {"serviceType": "NodePort", "replicas": "3", "memoryLimit": "2Gi"})
    assert (made.service_type, made.replicas) == ("NodePort", 3)
    assert made.proxy.resources.memory_limit == "2Gi"
    assert made.proxy.resources.cpu == OPTIONS.proxy.resources.cpu
    assert with_parameters(OPTIONS, {}) == OPTIONS


def test_names_fit_whatever_the_gateway_is_called() -> None:
    assert (object_name("edge"), label_value("edge")) == ("edge-meshwright", "edge")
    long = f"{'a' * 60}.example"
    assert object_name(long) != object_name(f"{long}s")
    assert max(len(object_name(long)), len(label_value(long))) == 63
    assert "." not in object_name("a.b")
    assert len({object_name(each) for each in ("a.b", "a-b", f"{long[:-8]}-example", long)}) == 4


def test_what_is_known_of_a_service_is_its_gateway_and_its_addresses() -> None:
    found: dict[str, Any] = {
        "metadata": {
            "namespace": "infra",
            "uid": "s",
            "ownerReferences": [{"kind": "Gateway", "name": "edge", "uid": "g"}],
        },
        "spec": {"type": "LoadBalancer", "clusterIP": "10.97.0.9"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}},
    }
    made = kept(found)
    assert made is not None
    assert (str(made.gateway), made.owner, made.cluster_ip) == ("infra/edge", "g", "10.97.0.9")
    assert made.given == ("192.0.2.1", "lb.example.com")
    found["metadata"]["ownerReferences"] = []
    assert kept(found) is None


@pytest.mark.parametrize(("code", "waits"), [(429, True), (403, False)])
async def test_the_first_answer_waits_for_what_the_server_is_too_busy_to_say(
    tmp_path: Path, code: int, waits: bool
) -> None:
    """Not for what may not be read: that stays so."""
    given: list[Held] = []

    class Taken:
        """Stands for `Certificates`, of which nothing else is asked."""

        beside: Any = None

        def give(self, held: dict[Key, Held], _: Any) -> None:
            given.extend(held.values())

    watched = _Watch(frozenset({Role.CERTIFICATE}))
    made = ClusterCertificates(
        Cluster(ClusterOptions(kubeconfig="/nowhere"), clock=time.monotonic),
        Taken(),  # type: ignore[arg-type]
        lambda _: None,
        clock=time.monotonic,
        random=random.random,
    )
    made._watches[SECRET] = watched
    cause = Cause.PASSING if code == 429 else Cause.FORBIDDEN
    made._heard(SECRET, watched, [Failed(f"{code}", cause)])
    await made._read()
    assert made._settled.is_set() is not waits
    assert given[-1].pending is waits
    assert f"{code}" in given[-1].problem
    found = a_secret(tmp_path, PublicAuthority())
    made._heard(SECRET, watched, [Recovered(), Replaced({ObjectName("default", "a"): found}, (), {})])
    await made._read()
    assert made._settled.is_set()
    assert given[-1].certificate is not None
