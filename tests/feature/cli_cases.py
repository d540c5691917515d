"""What is asked of the command line in tests/feature/test_cli_golden.py, in this order: later cases see what earlier ones did."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOP = """\
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: api, labels: {team: shop}}
spec: {ports: [{name: http, port: 80, protocol: http}]}
---
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: checkout-of-the-whole-shop}
spec: {ports: [{name: http, port: 80, protocol: http}, {name: grpc, port: 9090, protocol: grpc}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, labels: {team: shop}}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
---
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  attempts: 2
  on: [5xx]
"""
CHANGED = """\
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  attempts: 5
  on: [5xx, reset]
"""
WRONG = """\
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  attempts: many
---
apiVersion: meshwright.dev/v1alpha1
kind: Servce
metadata: {name: api}
spec: {}
"""
NO_YAML = "kind: [\n"
STALE = CHANGED.replace("name: api}", 'name: api, resourceVersion: "1"}')
CALLERS = """\
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: web}
spec: {address: 10.0.0.1, meshed: true}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {name: api-1}
spec: {services: [api], address: 10.0.0.2, meshed: true, ports: [{name: http, app: 9001, sidecar: 15101}]}
"""
FILES = {
    "shop.yaml": SHOP,
    "documents/shop.yaml": SHOP,
    "documents/wrong.yaml": WRONG,
    "callers/shop.yaml": SHOP + CALLERS,
    "changed.yaml": CHANGED,
    "wrong.yaml": WRONG,
    "no.yaml": NO_YAML,
    "stale.yaml": STALE,
}


@dataclass(frozen=True, slots=True)
class Case:
    """`columns`: of a terminal; None: through a pipe."""

    name: str
    command: str
    columns: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""


ELSEWHERE = {
    "analyze": "its checks have cases of their own",
    "backup": "tests/unit/meshwright/test_backup.py",
    "crds": "tests/unit/meshwright/test_kubernetes_crds.py",
    "demo": "tests/feature/test_demo.py",
    "doctor": "what it finds is the machine's: test_cli_terminal.py",
    "inject": "tests/unit/inject/test_streams.py",
    "install": "tests/unit/meshwright/test_kubernetes_install.py",
    "intercept": "tests/feature/test_intercept.py",
    "leave": "tests/unit/agent/test_attendant.py, tests/kubernetes/test_injection.py",
    "logs": "test_cli_terminal.py, test_cli_logs.py",
    "proxy": "every test of a mesh",
    "restore": "tests/unit/meshwright/test_backup.py",
    "serve": "every test of a mesh",
    "uninstall": "tests/unit/meshwright/test_kubernetes_install.py",
}
"""Commands that have no case here, and where they are tried."""

CASES = (
    Case("help", "--help"),
    Case("help-narrow", "apply --help", 60),
    Case("version", "version"),
    Case("apply-created", "apply -f shop.yaml --reason 'the shop opens'"),
    Case("apply-unchanged", "apply -f shop.yaml"),
    Case("apply-dry-run", "apply -f changed.yaml --dry-run"),
    Case("apply-wrong", "apply -f wrong.yaml"),
    Case("apply-no-yaml", "apply -f no.yaml"),
    Case("apply-no-file", "apply -f nowhere.yaml"),
    Case("diff", "diff -f changed.yaml --check"),
    Case("plan", "plan changed.yaml --check --no-envoy"),
    Case("plan-narrow", "plan changed.yaml --delete svc/api --no-envoy", 60),
    Case("plan-wrong", "plan wrong.yaml"),
    Case("plan-usage", "plan"),
    Case("plan-offline", "plan changed.yaml --documents documents"),
    Case("upgrade-check", "upgrade-check"),
    Case("explain", "explain --from web --to api GET /orders/7 --documents callers"),
    Case("explain-narrow", "explain --from web --to apu --documents callers", 60),
    Case("explain-wrong", "explain --from web --to api"),
    Case("explain-usage", "explain --from web --to api GET / -H x-tenant"),
    Case("apply-stdin-json", "apply -f - -o json", stdin=CHANGED),
    Case("apply-conflict", "apply -f stale.yaml"),
    Case("apply-server-side", "apply -f changed.yaml --server-side --field-manager ci"),
    Case("get-all", "get all -A"),
    Case("get-all-terminal", "get all -A", 100),
    Case("get-all-narrow", "get all -A -o wide", 60),
    Case("get-short-name", "get hr"),
    Case("get-labels", "get services -l team=shop -o name"),
    Case("get-nothing", "get ratelimits"),
    Case("get-missing", "get httproute nope"),
    Case("get-no-kind", "get htproute"),
    Case("get-yaml", "get retry api -o yaml"),
    Case("get-json", "get retry api -o json"),
    Case("get-two", "get service api checkout-of-the-whole-shop -o wide"),
    Case("get-at", "get retry api --at 1 -o name"),
    Case("describe", "describe httproute api"),
    Case("describe-narrow", "describe httproute api", 60),
    Case("delete-dry-run", "delete retry api --dry-run"),
    Case("delete", "delete retry api --reason 'no retries at all'"),
    Case("delete-missing", "delete retry api"),
    Case("delete-missing-is-fine", "delete retry api --ignore-not-found"),
    Case("delete-usage", "delete"),
    Case("validate", "validate documents"),
    Case("logs-wrong", "logs api-1 --level error"),
    Case("completion-bash", "completion bash"),
    Case("completion-zsh", "completion zsh"),
    Case("completion-fish", "completion fish"),
    Case("history", "history"),
    Case("history-of-one", "history retry api"),
    Case("history-narrow", "history", 60),
    Case("rollback-dry-run", "rollback --to 2 --dry-run"),
    Case("rollback", "rollback --to 2 --reason 'retries were needed'"),
    Case("rollback-too-far", "rollback --to 99"),
    Case("wait", "wait --timeout 30s"),
    Case("wait-revision", "wait 5 --timeout 30s"),
    Case("wait-twice", "wait 5 --revision 5"),
    Case("status", "status"),
    Case("status-terminal", "status", 100),
    Case("status-narrow", "status", 60),
    Case("services", "services"),
    Case("workloads", "workloads"),
    Case("top", "top"),
    Case("plaintext", "plaintext"),
    Case("rollout-list", "rollout list"),
    Case("rollout-missing", "rollout promote zzz"),
    Case("quarantine-list", "quarantine list"),
    Case("envoy-help", "envoy --help"),
    Case("token-list", "token list"),
    Case("ca-status", "ca status"),
    Case("api-token-list", "api-token list"),
    Case("api-token-wrong-role", "api-token create ci --role owner"),
    Case("config-dump-nobody", "config-dump nobody"),
    Case("hold-nothing", "hold release"),
    Case("context-set", "context set shop --server mesh.test:15013 --token-file /t --namespace shop"),
    Case("context-set-wrong", "context set there --server http://mesh.test:1"),
    Case("context-list", "context list"),
    Case("context-missing", "context use there"),
    Case("edit-missing", "edit httproute nope", env={"EDITOR": "true"}),
    Case("edit-nothing", "edit httproute api", env={"EDITOR": "true"}),
    Case("edit-no-editor", "edit httproute api", env={"EDITOR": "/nowhere/vi"}),
    Case("store-check", "store check"),
    Case("store-export", "export saved.jsonl"),
    Case("store-export-again", "export saved.jsonl"),
    Case("store-import", "import saved.jsonl --store sqlite:other.db"),
    Case("store-import-wrong", "import shop.yaml --store sqlite:third.db"),
    Case("store-copy", "store copy --from sqlite --to sqlite:other.db"),
    Case("store-collect", "store collect --keep 1 --store sqlite:other.db"),
    Case("store-missing", "store check --store sqlite:nowhere.db"),
    Case("two-control-planes", "get all --server https://mesh.test --data-dir data"),
    Case("unreachable", "get all --data-dir nowhere"),
    Case("unreachable-server", "get all --server https://127.0.0.1:1"),
    Case("no-command", "gte all"),
    Case("no-names", "status -o name"),
)
