"""conformance.py [--profile mesh|gateway] [--test NAME]... - the Gateway API conformance suite against Meshwright, on the cluster.

    make conformance                        all five profiles with every feature: build/conformance/{mesh,gateway}.yaml, results.md
    make conformance PROFILE=mesh           the mesh's half alone
    make conformance TEST=MeshPorts         one test (TEST='A B' for several); whatever feature it needs is on

It builds the suite, starts the cluster, makes the image of this tree, installs Meshwright from its own manifests (`meshwright install`)
and waits until it is ready. `--no-install` takes what runs. `--quick` has the suite wait a tenth as long before it gives a test up:
for development, since each failing test takes its whole time; what is published uses the suite's own limits.
Exits with 1 when a test failed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys

from scripts.kubernetes.conformance.results import Result, Suite, read_log, table

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "conformance"
INJECTED = "meshwright.dev/inject=enabled"
# In the cluster's range of service addresses, and outside of every range: for GatewayStaticAddresses.
# MeshFrontend calls a pod by its own address, past every Service: nothing says that such a call is to be mesh TLS, and strict, which is the
# default, refuses it. The suite has no word for strictness; it runs as a mesh does while it is being introduced.
PERMISSIVE = """{apiVersion: meshwright.dev/v1alpha1, kind: MeshTLS, metadata: {name: conformance, namespace: meshwright-system},
spec: {targetRefs: [{kind: Mesh}], mode: permissive}}"""
ADDRESSES = ("-usable-address=10.97.200.200", "-unusable-address=192.0.2.1")
QUICK = (
    "-timeout-config-overrides=MaxTimeToConsistency:8;GatewayMustHaveAddress:20;GatewayMustHaveCondition:10;GatewayStatusMustHaveListeners:10;"
    "GatewayListenersMustHaveConditions:10;HTTPRouteMustHaveCondition:10;RouteMustHaveParents:10;TLSRouteMustHaveCondition:10;"
    "ListenerSetMustHaveCondition:10;LatestObservedGenerationSet:10;GatewayListenersMustHaveCondition:10;NamespacesMustBeReady:90"
)


def flags(half: str, suite: Suite) -> list[str]:
    """The suite's flags for one half of the profiles: every feature that one of its tests needs is on."""
    names = suite.halves[half]
    features = sorted(
        {feature for test in suite.of(half) for feature in test.features} | suite.extended(half)
    )
    chosen = [f"-conformance-profiles={','.join(names)}", f"-supported-features={','.join(features)}"]
    if half == "mesh":
        return [*chosen, "-gateway-class=", f"-namespace-labels={INJECTED}"]
    return [*chosen, "-gateway-class=meshwright", *ADDRESSES]


def run(half: str, more: list[str], report: pathlib.Path | None = None) -> dict[str, Result]:
    """One run of the suite; the results of its tests, read from its log. The tests of the other half are "skipped" in it."""
    if half == "mesh":
        prepare()  # waits for the end of the namespaces of the run before
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(HERE / "mesh.yaml"))
    environment = {**os.environ, **({"REPORT": str(report)} if report else {})}
    subprocess.run([HERE / "run.sh", *more], env=environment, check=False)
    log = pathlib.Path((suite_folder() / "log" / "last").read_text().strip())
    return read_log(log.read_text(errors="replace"), half)


def prepare() -> None:
    """Images and definitions of the suite are there, and nothing of an earlier run is still going away."""
    subprocess.run([HERE / "run.sh"], check=True, env={**os.environ, "PREPARE": "1"})


def suite_folder() -> pathlib.Path:
    asked = f". {HERE}/../env.sh; echo $KUBE_HOME/conformance"
    return pathlib.Path(
        subprocess.run(["bash", "-c", asked], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    )


def install() -> None:
    """This tree's Meshwright; ready before the suite begins, which waits for nobody."""
    subprocess.run([HERE.parent / "install.sh"], check=True)
    kubectl("wait", "--for=condition=Accepted", "gatewayclass/meshwright", "--timeout=60s")


def kubectl(*arguments: str) -> None:
    script = f'. {HERE}/../env.sh; "$KUBECTL" "$@"'
    subprocess.run(["bash", "-c", script, "kubectl", *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    given = argparse.ArgumentParser(description="The Gateway API conformance suite against Meshwright.")
    given.add_argument("--profile", choices=["mesh", "gateway"])
    given.add_argument("--test", action="append", default=[])
    given.add_argument("--no-install", action="store_true")
    given.add_argument("--quick", action="store_true")
    given.add_argument(
        "--keep", action="store_true", help="leave the suite's base resources for the next run"
    )
    asked = given.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run([HERE.parent / "cluster.sh", "up"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([HERE / "build.sh"], check=True)
    prepare()
    if not asked.no_install:
        install()
    suite = Suite.read(json.loads((suite_folder() / "tests.json").read_text()))
    more = [*(QUICK,) * asked.quick, *("-cleanup-base-resources=false",) * asked.keep]
    results: dict[str, Result] = {}
    if asked.test:
        for name in asked.test:
            half = suite.half(name)
            named = [
                each
                for each in flags(half, suite)
                if not each.startswith(("-conformance-profiles", "-supported"))
            ]
            results |= run(half, [f"-run-test={name}", *named, *more])
    else:
        for half in [asked.profile] if asked.profile else ["mesh", "gateway"]:
            results |= run(half, [*flags(half, suite), *more], BUILD / f"{half}.yaml")
        written = BUILD / "results.md"
        written.write_text(table(suite, results))
        print(f"report: {BUILD}/*.yaml, {written}")
    return any(each.outcome == "FAIL" for each in results.values()) or not results


if __name__ == "__main__":
    sys.exit(main())
