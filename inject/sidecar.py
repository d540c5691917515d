"""What injection adds: the sidecar, the container that sets up interception, and their volumes.

All but interception is as the "restricted" Pod Security Standard wants it:
https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.app_probes import AGENT_PORT, READY, VARIABLE, AppCheck, dumped
from agent.intercept.options import DNS_PORT, INBOUND_PORT, OUTBOUND_PORT
from inject import names
from inject.names import Json
from inject.options import InjectOptions, Passed, Resources

START_ATTEMPTS = 600
"""One a second. The application is held meanwhile: the control plane may be away, or the workload not discovered yet."""


def volumes(options: InjectOptions) -> list[Json]:
    """The token by which the pod proves its service account, the bundle that vouches for the control plane, and a place for keys, in memory."""
    token = {"audience": options.audience, "expirationSeconds": options.lifetime, "path": "token"}
    return [
        {"name": names.TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": names.BUNDLE_VOLUME, "configMap": {"name": names.BUNDLE_CONFIG_MAP}},
        {"name": names.STATE_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    ]


def mounts() -> list[Json]:
    return [
        {"name": names.TOKEN_VOLUME, "mountPath": names.TOKEN_DIRECTORY, "readOnly": True},
        {"name": names.BUNDLE_VOLUME, "mountPath": names.BUNDLE_DIRECTORY, "readOnly": True},
        {"name": names.STATE_VOLUME, "mountPath": names.STATE_DIRECTORY},
    ]


def environment(options: InjectOptions) -> list[Json]:
    """Of `meshwright proxy` in a pod, the workload `<namespace>/<pod>`."""
    return [
        _field("POD_NAMESPACE", "metadata.namespace"),
        _field("POD_NAME", "metadata.name"),
        _field("MESHWRIGHT_POD_IP", "status.podIP"),
        *(
            {"name": name, "value": value}
            for name, value in (
                ("MESHWRIGHT_WORKLOAD", "$(POD_NAMESPACE)/$(POD_NAME)"),
                ("MESHWRIGHT_PROXY_DATA_DIR", names.DATA_DIRECTORY),
                ("MESHWRIGHT_CONTROL_PLANE", options.control_plane),
                ("MESHWRIGHT_JOIN", options.join),
                ("MESHWRIGHT_BUNDLE", names.BUNDLE_FILE),
                ("MESHWRIGHT_PROOF", "kubernetes-token"),
                ("MESHWRIGHT_CLUSTER", options.cluster),
                ("MESHWRIGHT_TOKEN_FILE", names.TOKEN_FILE),
                ("MESHWRIGHT_TRUST_DOMAIN", options.trust_domain),
                ("MESHWRIGHT_PROXY_ADMIN_SOCKET", "true"),
                ("MESHWRIGHT_DRAIN_TIME", f"{options.drain_time}s"),
                ("MESHWRIGHT_LEAVE_PATIENCE", f"{options.leave_patience}s"),
                ("MESHWRIGHT_AGENT_PORT", str(AGENT_PORT)),
                # Its root directory is read-only.
                ("TMPDIR", names.STATE_DIRECTORY),
            )
        ),
    ]


def restricted() -> Json:
    """The security context of the sidecar."""
    return {
        "runAsNonRoot": True,
        "runAsUser": names.PROXY_USER,
        "runAsGroup": names.PROXY_USER,
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def resources(given: Resources) -> Json:
    requests = {"cpu": given.cpu, "memory": given.memory}
    limits = {"cpu": given.cpu_limit, "memory": given.memory_limit}
    made = {"requests": requests, "limits": limits}
    return {name: kept for name, each in made.items() if (kept := {key: q for key, q in each.items() if q})}


def proxy(options: InjectOptions, checks: tuple[AppCheck, ...]) -> Json:
    """The sidecar: an init container that always restarts, so that it is there before the application and after it, and a Job can end.

    The containers after it start once its startup probe has succeeded, which is when Envoy has its configuration.
    """
    variables = environment(options)
    if checks:
        variables.append({"name": VARIABLE, "value": dumped(checks)})
    ready = {"path": READY, "port": AGENT_PORT, "scheme": "HTTP"}
    return {
        "name": names.PROXY,
        **_image(options),
        "args": [
            "proxy",
            "--concurrency",
            str(options.concurrency),
            "--log-level",
            options.log_level,
        ],
        "env": variables,
        "ports": [{"name": "mw-agent", "containerPort": AGENT_PORT, "protocol": "TCP"}],
        "restartPolicy": "Always",
        "startupProbe": {
            "httpGet": ready,
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            "failureThreshold": START_ATTEMPTS,
        },
        "readinessProbe": {"httpGet": ready, "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 3},
        # Beside the hooks of the application, which wait for what this one begins.
        "lifecycle": {"preStop": {"exec": {"command": ["meshwright", "leave"]}}},
        "resources": resources(options.resources),
        "securityContext": restricted(),
        "volumeMounts": mounts(),
    }


def intercept(options: InjectOptions, passed: Passed) -> Json:
    """The one container with a privilege: it writes the rules of the pod's network namespace, and ends."""
    return {
        "name": names.INTERCEPT,
        **_image(options),
        "args": ["intercept", *_intercept_arguments(options, passed)],
        "resources": resources(Resources(cpu="10m", memory="64Mi", memory_limit="256Mi")),
        "securityContext": {
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def ports(options: InjectOptions) -> tuple[int, ...]:
    """What the sidecar listens on in the pod, so that nobody else can."""
    own = (OUTBOUND_PORT, INBOUND_PORT, AGENT_PORT, names.METRICS_PORT)
    return (*own, DNS_PORT) if options.dns else own


def _intercept_arguments(options: InjectOptions, passed: Passed) -> Iterator[str]:
    yield from ("--proxy-user", str(names.PROXY_USER))
    if options.dns:
        yield "--dns"
    own = (AGENT_PORT, names.METRICS_PORT)
    for option, values in (
        ("--exclude-inbound-port", tuple(dict.fromkeys((*own, *passed.exclude_inbound_ports)))),
        ("--include-inbound-port", passed.include_inbound_ports),
        ("--exclude-inbound-cidr", passed.exclude_inbound_cidrs),
        ("--exclude-outbound-port", passed.exclude_outbound_ports),
        ("--exclude-outbound-cidr", passed.exclude_outbound_cidrs),
        ("--include-outbound-cidr", passed.include_outbound_cidrs),
    ):
        for each in values:
            yield from (option, str(each))


def _image(options: InjectOptions) -> Json:
    policy = {"imagePullPolicy": options.pull_policy} if options.pull_policy else {}
    return {"image": options.image, **policy}


def _field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
