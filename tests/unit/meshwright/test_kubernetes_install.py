"""What an installation is made of: options, roles that are as narrow as they can be, pods that Pod Security takes."""

from __future__ import annotations

import hashlib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshwright.errors import SettingsError
from meshwright.kubernetes.install import rbac
from meshwright.kubernetes.install.checked import checked
from meshwright.kubernetes.install.objects import digest, objects
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
    return [
        *rbac.cluster_rules(KINDS),
        *rbac.gateway_rules(),
        *rbac.history_rules(),
        *rbac.own_rules(),
    ]


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: "-".join(rule.resources)[:40])
def test_each_rule_names_what_needs_it(rule: rbac.Rule) -> None:
    assert rule.needed_by
    for path in rule.needed_by:
        assert (ROOT / path).is_file(), f"{path} needs {rule.resources}, and is not there"


def test_no_rule_has_a_wildcard() -> None:
    for rule in every_rule():
        assert "*" not in (*rule.groups, *rule.resources, *rule.verbs, *rule.names)


def writes(*given: str) -> set[str]:
    """What may be written wherever it is and whatever its name: of the ClusterRole, as it is printed."""
    return {
        resource
        for rule in made(*given)["ClusterRole"]["rules"]
        if not set(rule["verbs"]) <= {"get", "list", "watch"} and "resourceNames" not in rule
        for resource in rule["resources"]
        if not resource.endswith("/status")
    }


def test_what_may_be_written_anywhere_is_this_and_no_more() -> None:
    """Of `deployments` alone the control plane's account is as good as everything, and that is told in docs/kubernetes.md: it makes
    gateways. No rule lets it give itself or others rights, or write Secrets, pods or nodes.
    """
    gateways = {"deployments", "services", "serviceaccounts", "poddisruptionbudgets"}
    assert writes() == {*gateways, "controllerrevisions", "tokenreviews"}
    assert writes("gatewayClass=false") == {"controllerrevisions", "tokenreviews"}
    assert writes("gatewayClass=false", "settings.kubernetes.history=0") == {"tokenreviews"}


def test_secrets_are_read_where_there_are_gateways_and_nowhere_else() -> None:
    def read(*given: str) -> set[str]:
        return {
            verb
            for rule in made(*given)["ClusterRole"]["rules"]
            if "secrets" in rule["resources"]
            for verb in rule["verbs"]
        }

    assert read() == {"list", "watch"}
    assert not read("gatewayClass=false")


def test_verbs_that_no_code_uses_are_not_asked_for() -> None:
    """An update is a PUT, which leases and the authority's Secret are written by; all else is patched or applied."""
    update = {resource for rule in every_rule() if "update" in rule.verbs for resource in rule.resources}
    assert update == {"leases", "secrets"}
    for rule in rbac.own_rules():
        assert "patch" not in rule.verbs
    for rule in every_rule():
        if rule.groups in {("meshwright.dev",), (rbac.GATEWAY_API,)}:
            assert "get" not in rule.verbs


def pod(*given: str) -> dict[str, Any]:
    template: dict[str, Any] = made(*given)["Deployment"]["spec"]["template"]
    return template


def test_other_settings_are_other_pods() -> None:
    """They read them when they start."""
    assert pod() == pod("replicas=3")
    assert pod() != pod("logLevel=debug")
    assert pod("settings.quiet=0.5") != pod("settings.quiet=0.25")


def test_a_digest_is_as_helm_makes_it() -> None:
    """`toJson | sha256sum` of these values."""
    text = r'{"a":"\u003c\u0026\u003e","b":[1,0.5,true]}'
    assert digest({"b": [1, 0.5, True], "a": "<&>"}) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("settings.nonsense=1", "unknown setting nonsense"),
        ("settings.certificate_lifetime=1 fortnight", "use for example 90s, 30m, 24h or 7d"),
        ("settings.kubernetes.history=-1", "kubernetes.history"),
        ("logLevel=loud", "log_level"),
    ],
)
def test_settings_that_no_pod_could_start_with_are_not_printed(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        checked(parse([given]))


def test_settings_that_pods_can_start_with_are_printed() -> None:
    options = parse(["settings.certificate_lifetime=1h", "settings.consul.url=http://consul:8500"])
    assert checked(options) is options


def test_commands_in_a_pod_find_its_data_directory() -> None:
    (container,) = pod()["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    assert variables["MESHWRIGHT_DATA_DIR"] == "/var/lib/meshwright/data"
    assert "/var/lib/meshwright" in mounted


def test_no_volume_can_fill_a_node() -> None:
    for volume in pod()["spec"]["volumes"]:
        assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("value", ["enabled", "true"])
def test_webhooks_are_asked_by_either_value(value: str) -> None:
    namespaces, pods = made()["MutatingWebhookConfiguration"]["webhooks"]
    assert value in namespaces["namespaceSelector"]["matchExpressions"][1]["values"]
    assert value in pods["objectSelector"]["matchExpressions"][0]["values"]
    assert {"disabled", "false"} <= set(namespaces["objectSelector"]["matchExpressions"][0]["values"])


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
