from __future__ import annotations

import copy

import pytest

from agent.app_probes import AGENT_PORT, LEFT, AppCheck, GrpcCheck, HttpCheck, TcpCheck, parsed
from inject.errors import NotInjectable
from inject.names import INTERCEPT, PROXY, PROXY_USER, Json
from inject.options import InjectOptions, Resources
from inject.pod import Injected, LeftAlone, inject, wanted
from policies.metrics import PORT

OPTIONS = InjectOptions(image="meshwright:dev")


def a_pod(*containers: Json, annotations: dict[str, str] | None = None, **spec: object) -> Json:
    return {
        "metadata": {"name": "api-1", "annotations": annotations or {}},
        "spec": {"containers": list(containers) or [{"name": "app", "image": "app:1"}], **spec},
    }


def injected(pod: Json, options: InjectOptions = OPTIONS) -> Json:
    outcome = inject(pod, options)
    assert isinstance(outcome, Injected)
    return outcome.pod


def left_alone(pod: Json) -> str:
    outcome = inject(pod, OPTIONS)
    assert isinstance(outcome, LeftAlone)
    return outcome.reason


def the(pod: Json, name: str) -> Json:
    (found,) = (
        each for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]) if each["name"] == name
    )
    return dict(found)


def variable(pod: Json, name: str) -> str:
    (found,) = (each["value"] for each in the(pod, PROXY)["env"] if each["name"] == name)
    return str(found)


def checks(pod: Json) -> dict[str, AppCheck]:
    return parsed(variable(pod, "MESHWRIGHT_APP_CHECKS"))


def test_the_sidecar_is_there_before_all_others_and_after_interception() -> None:
    given = a_pod(initContainers=[{"name": "migrate", "image": "app:1"}])
    before = copy.deepcopy(given)
    pod = injected(given)
    assert [each["name"] for each in pod["spec"]["initContainers"]] == [INTERCEPT, PROXY, "migrate"]
    assert the(pod, PROXY)["restartPolicy"] == "Always"
    assert given == before


def test_what_is_injected_already_stays() -> None:
    assert not left_alone(injected(a_pod()))


@pytest.mark.parametrize("where", ["labels", "annotations"])
@pytest.mark.parametrize("how", ["disabled", "false"])
def test_a_pod_opts_out(where: str, how: str) -> None:
    pod = a_pod()
    pod["metadata"][where] = {"meshwright.dev/inject": how}
    assert not left_alone(pod)


@pytest.mark.parametrize(
    ("said", "means"), [("enabled", True), ("true", True), ("disabled", False), ("false", False)]
)
def test_a_pod_says_it_either_way(said: str, *, means: bool) -> None:
    assert wanted({"metadata": {"labels": {"meshwright.dev/inject": said}}}) is means


def test_a_pod_that_says_what_means_nothing_is_told() -> None:
    pod = a_pod()
    pod["metadata"]["labels"] = {"meshwright.dev/inject": "yes"}
    assert "'yes' is none of enabled, true, disabled, false" in left_alone(pod)


def test_a_pod_on_its_nodes_network_is_told_why_it_has_none() -> None:
    assert "hostNetwork" in left_alone(a_pod(hostNetwork=True))


@pytest.mark.parametrize(
    "spec", [{"os": {"name": "windows"}}, {"nodeSelector": {"kubernetes.io/os": "windows"}}]
)
def test_windows_is_left_alone(spec: Json) -> None:
    assert "Windows" in left_alone(a_pod(**spec))


def test_all_but_interception_is_restricted() -> None:
    pod = injected(a_pod())
    context = the(pod, PROXY)["securityContext"]
    assert context["runAsNonRoot"]
    assert context["runAsUser"] == PROXY_USER
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert the(pod, INTERCEPT)["securityContext"]["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW"]


def test_interception_by_somebody_else_needs_no_privilege() -> None:
    pod = injected(a_pod(annotations={"meshwright.dev/interception": "none"}))
    assert [each["name"] for each in pod["spec"]["initContainers"]] == [PROXY]


def test_the_sidecars_own_ports_are_passed_by_and_others_as_annotated() -> None:
    annotations = {"meshwright.dev/exclude-inbound-ports": "9090, 15090, 22", "meshwright.dev/dns": "true"}
    arguments = the(injected(a_pod(annotations=annotations)), INTERCEPT)["args"]
    passed = [arguments[at + 1] for at, each in enumerate(arguments) if each == "--exclude-inbound-port"]
    assert passed == [str(AGENT_PORT), str(PORT), "9090", "22"]
    assert "--dns" in arguments


def test_who_has_an_image_of_its_own_does_not_run_it_with_a_privilege() -> None:
    pod = injected(a_pod(annotations={"meshwright.dev/proxy-image": "anybody/anything:1"}))
    assert the(pod, PROXY)["image"] == "anybody/anything:1"
    assert the(pod, INTERCEPT)["image"] == OPTIONS.image


def test_probes_go_through_the_agent() -> None:
    app: Json = {
        "name": "app",
        "ports": [{"name": "web", "containerPort": 8080}],
        "livenessProbe": {
            "httpGet": {"path": "/live?x=1", "port": "web", "httpHeaders": [{"name": "A", "value": "b"}]},
            "periodSeconds": 7,
        },
        "readinessProbe": {"tcpSocket": {"port": 8080}, "timeoutSeconds": 4},
        "startupProbe": {"grpc": {"port": 9000, "service": "shop"}},
    }
    pod = injected(a_pod(app))
    assert checks(pod) == {
        "app/liveness": AppCheck("app/liveness", HttpCheck(8080, "/live?x=1", "http", (("A", "b"),))),
        "app/readiness": AppCheck("app/readiness", TcpCheck(8080), 4.0),
        "app/startup": AppCheck("app/startup", GrpcCheck(9000, "shop")),
    }
    assert the(pod, "app")["livenessProbe"] == {
        "httpGet": {"path": "/app-health/app/liveness", "port": AGENT_PORT, "scheme": "HTTP"},
        "periodSeconds": 7,
    }
    assert "grpc" not in the(pod, "app")["startupProbe"]


def test_probes_that_stay() -> None:
    app: Json = {
        "name": "app",
        "livenessProbe": {"exec": {"command": ["true"]}},
        "readinessProbe": {"httpGet": {"port": 80, "host": "elsewhere"}},
        "startupProbe": {"httpGet": {"port": "nowhere"}},
    }
    outcome = inject(a_pod(app), OPTIONS)
    assert isinstance(outcome, Injected)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert the(outcome.pod, "app")[probe] == app[probe]
    assert ["elsewhere" in outcome.warnings[0], "nowhere" in outcome.warnings[1]] == [True, True]


def test_probes_of_a_container_that_lasts_go_through_the_agent_too() -> None:
    helper: Json = {
        "name": "helper",
        "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": 7000}},
    }
    assert "helper/startup" in checks(injected(a_pod(initContainers=[helper])))


def test_the_application_ends_when_callers_have_heard() -> None:
    pod = injected(a_pod(terminationGracePeriodSeconds=20))
    assert the(pod, "app")["lifecycle"]["preStop"]["httpGet"] == {
        "path": LEFT,
        "port": AGENT_PORT,
        "scheme": "HTTP",
    }
    assert the(pod, PROXY)["lifecycle"]["preStop"]["exec"]["command"] == ["meshwright", "leave"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 20 + OPTIONS.leave_patience + OPTIONS.drain_time


def test_a_pod_that_is_to_end_at_once_does() -> None:
    assert injected(a_pod(terminationGracePeriodSeconds=0))["spec"]["terminationGracePeriodSeconds"] == 0


def test_a_hook_of_the_applications_own_stays_and_is_told() -> None:
    app: Json = {"name": "app", "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}}}
    outcome = inject(a_pod(app), OPTIONS)
    assert isinstance(outcome, Injected)
    assert the(outcome.pod, "app")["lifecycle"] == app["lifecycle"]
    assert "preStop" in outcome.warnings[0]


def test_a_hook_over_http_is_called_by_the_agent() -> None:
    app: Json = {"name": "app", "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/end"}}}}
    pod = injected(a_pod(app))
    assert checks(pod)["app/pre-stop"].way == HttpCheck(80, "/end")
    assert the(pod, "app")["lifecycle"]["preStop"]["httpGet"]["path"] == "/left/app"


def test_annotations_change_resources_image_and_level() -> None:
    pod = injected(
        a_pod(
            annotations={
                "meshwright.dev/proxy-cpu": "250m",
                "meshwright.dev/proxy-memory-limit": "2Gi",
                "meshwright.dev/proxy-image": "registry.example/meshwright:2",
            }
        ),
        InjectOptions("meshwright:dev", resources=Resources(memory="")),
    )
    proxy = the(pod, PROXY)
    assert proxy["resources"] == {"requests": {"cpu": "250m"}, "limits": {"memory": "2Gi"}}
    assert proxy["image"] == "registry.example/meshwright:2"


def test_an_annotation_that_means_nothing_is_told() -> None:
    outcome = inject(a_pod(annotations={"meshwright.dev/proxy-cpus": "1"}), OPTIONS)
    assert isinstance(outcome, Injected)
    assert "did you mean meshwright.dev/proxy-cpu?" in outcome.warnings[0]


def test_discovery_is_told_of_names() -> None:
    assert injected(a_pod())["metadata"]["annotations"]["meshwright.dev/dns"] == "false"


def test_the_authority_of_pulls_is_added_once() -> None:
    options = InjectOptions("meshwright:dev", pull_secrets=("a", "b"))
    pod = injected(a_pod(imagePullSecrets=[{"name": "a"}]), options)
    assert pod["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (a_pod({"name": "app", "ports": [{"containerPort": 15006}]}), "port 15006"),
        (a_pod({"name": "app", "ports": [{"containerPort": PORT}]}), "port 15090"),
        (a_pod({"name": "app", "securityContext": {"runAsUser": PROXY_USER}}), "user 10002"),
        (a_pod(securityContext={"runAsUser": PROXY_USER}), "user 10002"),
        (a_pod({"name": INTERCEPT}), INTERCEPT),
        (a_pod(volumes=[{"name": "meshwright-state"}]), "meshwright-state"),
        (a_pod(annotations={"meshwright.dev/proxy-cpu": "lots"}), "meshwright.dev/proxy-cpu"),
        (a_pod(annotations={"meshwright.dev/exclude-inbound-ports": "http"}), "list of ports"),
        (a_pod(annotations={"meshwright.dev/exclude-outbound-cidrs": "10.0.0.1/8"}), "list of networks"),
        (a_pod(annotations={"meshwright.dev/uses": "stock, bank/"}), "list of services"),
        (a_pod(annotations={"meshwright.dev/clusters": "some"}), "neither all nor onDemand"),
        (a_pod(annotations={"meshwright.dev/dns": "yes"}), "true"),
        (a_pod(annotations={"meshwright.dev/interception": "cni"}), "init, none"),
        (a_pod(annotations={"meshwright.dev/proxy-concurrency": "0"}), "from 1"),
    ],
)
def test_what_cannot_be_says_what_is_in_the_way(pod: Json, said: str) -> None:
    with pytest.raises(NotInjectable, match=said):
        inject(pod, OPTIONS)


def test_a_port_of_another_protocol_is_free() -> None:
    injected(a_pod({"name": "app", "ports": [{"containerPort": 15006, "protocol": "UDP"}]}))


def test_callers_of_a_port_of_the_node_are_told_of() -> None:
    app: Json = {"name": "app", "ports": [{"containerPort": 80, "hostPort": 8080}]}
    outcome = inject(a_pod(app), OPTIONS)
    assert isinstance(outcome, Injected)
    assert "hostPort 8080" in outcome.warnings[0]
    outcome = inject(a_pod(app, annotations={"meshwright.dev/exclude-inbound-ports": "80"}), OPTIONS)
    assert isinstance(outcome, Injected)
    assert outcome.warnings == ()
