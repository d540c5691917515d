"""What an installation is made of: options, roles that are as narrow as they can be, pods that Pod Security takes."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshwright.errors import SettingsError
from meshwright.kubernetes.install import rbac
from meshwright.kubernetes.install.objects import objects
from meshwright.kubernetes.install.options import InstallOptions, parse
from meshwright.settings import Settings

ROOT = Path(__file__).parents[3]
KINDS = ("accesspolicies",)
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "accesspolicies.meshwright.dev"},
    "spec": {"names": {"plural": KINDS[0]}},
}


def made(*given: str) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in objects(parse(list(given)), [CRD])}


def every_rule() -> list[rbac.Rule]:
    return [*rbac.cluster_rules(KINDS), *rbac.own_rules()]


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: "-".join(rule.resources)[:40])
def test_each_rule_names_what_needs_it(rule: rbac.Rule) -> None:
    assert rule.needed_by
    for path in rule.needed_by:
        assert (ROOT / path).is_file(), f"{path} needs {rule.resources}, and is not there"


def test_no_rule_has_a_wildcard() -> None:
    for rule in every_rule():
        assert "*" not in (*rule.groups, *rule.resources, *rule.verbs, *rule.names)


def test_nothing_that_is_as_good_as_everything_is_asked_for() -> None:
    """No rule lets the control plane give itself or others more rights, or run what it likes where it likes."""
    allowed = {
        (resource, verb) for rule in every_rule() for resource in rule.resources for verb in rule.verbs
    }
    for resource in (
        "pods",
        "pods/exec",
        "roles",
        "clusterroles",
        "rolebindings",
        "clusterrolebindings",
        "nodes",
    ):
        for verb in ("create", "update", "patch", "delete", "escalate", "bind", "impersonate"):
            assert (resource, verb) not in allowed
    for rule in rbac.cluster_rules(KINDS):
        if "secrets" in rule.resources:
            assert set(rule.verbs) <= {"get", "list", "watch"}


def test_pods_are_restricted() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec = made()["Deployment"]["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    assert not {key for volume in spec["volumes"] for key in volume} - {"name", "configMap", "emptyDir"}
    labels = made()["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_settings_are_settings() -> None:
    text = made("trustDomain=shop.example", "settings.quiet=0.5")["ConfigMap"]["data"]["settings.yaml"]
    read = Settings.model_validate(yaml.safe_load(text))
    assert read.trust_domain == "shop.example"
    assert read.quiet == 0.5
    assert read.kubernetes is not None
    assert read.kubernetes.authority_secret == "meshwright-authority"
    assert "meshwright.meshwright-system.svc" in read.server_names


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ((), "meshwright-system"),
        (("namespace=mesh",), "mesh"),
        (("namespace=mesh", "settings.kubernetes.root_namespace=rules"), "rules"),
    ],
)
def test_what_governs_the_mesh_stands_in_the_control_planes_namespace_or_where_settings_say(
    given: tuple[str, ...], root: str
) -> None:
    read = Settings.model_validate(yaml.safe_load(made(*given)["ConfigMap"]["data"]["settings.yaml"]))
    assert read.kubernetes is not None
    assert read.kubernetes.root == root


def test_a_namespace_of_another_name_is_named_everywhere() -> None:
    text = yaml.safe_dump_all(objects(parse(["namespace=mesh"]), [CRD]))
    assert "meshwright-system" not in text


def test_the_control_plane_never_waits_for_itself() -> None:
    for kind in ("MutatingWebhookConfiguration",):
        for webhook in made()[kind]["webhooks"]:
            never = webhook["namespaceSelector"]["matchExpressions"][0]
            assert never["operator"] == "NotIn"
            assert {"meshwright-system", "kube-system"} <= set(never["values"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("replicas", "not name=value"),
        ("replicas=two", "type int"),
        ("replicas=0", "one at least"),
        ("replica=2", "there is no such option"),
        ("failurePolicy=Maybe", "neither Fail nor Ignore"),
        ("gatewayClass=1", "type bool"),
    ],
)
def test_an_option_that_cannot_be_says_what_would_be_right(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse([given])


def test_a_setting_within_one_that_has_a_value() -> None:
    with pytest.raises(SettingsError, match=r"settings\.a\.b"):
        parse(["settings.a=1", "settings.a.b=2"])


def test_options_are_what_they_are_by_default() -> None:
    assert parse([]) == InstallOptions()
    assert list(chain.from_iterable([parse(["replicas=3", "replicas=4"]).settings])) == []
    assert parse(["replicas=3", "replicas=4"]).replicas == 4
