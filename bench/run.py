"""`make bench`: Meshwright beside go-control-plane, in one run on one machine.

Every run has a fresh server and a fresh fleet; the sides take turns, in one order and then in the other, so that a machine
that grows slower or faster favours none. Prints a table and writes build/bench.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import kubernetes, kubernetes_cluster, report, store
from bench.build import ROOT, build
from bench.measure import Plan, Run, measure
from bench.processes import BenchError
from bench.shape import Shape
from bench.sides import GoControlPlane, Meshwright, Side

OUTPUT = ROOT / "build" / "bench.json"


def main() -> int:
    options = _options()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    shape = Shape(options.services, options.endpoints, options.proxies, options.meshed)
    try:
        xdsload, peer = build("xdsload"), build("gopeer")
        console.print(f"{shape}; {options.repeats} repetitions")
        runs: list[Run] = []
        for repetition in range(options.repeats):
            turns = _turns(peer, options)
            for side, mode in turns if repetition % 2 == 0 else reversed(turns):
                begin = time.monotonic()
                plan = Plan(
                    shape,
                    options.replacements if mode == "delta" else min(options.replacements, 3),
                    options.additions,
                    options.parse,
                    options.settle,
                )
                run = measure(side, mode, plan, xdsload)
                runs.append(run)
                console.print(_line(run, time.monotonic() - begin))
    except BenchError as error:
        console.print(f"bench: {error}", markup=False)
        return 1
    rows = report.Results(runs, f"go-control-plane-{options.beside}").rows()
    if options.documents:
        rows += store.rows(options.documents)
    if options.kubernetes and kubernetes_cluster.available():
        rows += kubernetes.rows(Shape(options.kubernetes, 10, 100), xdsload)
    elif options.kubernetes:
        console.print(
            "no rows of Kubernetes: they need root, and what scripts/kubernetes/cluster.sh build makes"
        )
    report.show(rows, console)
    report.write(rows, options.output)
    console.print(f"written: {options.output}")
    if options.check and not all(row.good for row in rows):
        console.print("missed: " + ", ".join(row.name for row in rows if not row.good))
        return 1
    return 0


def _turns(peer: Path, options: argparse.Namespace) -> list[tuple[Side, str]]:
    sides: list[Side] = [Meshwright(), GoControlPlane(peer, options.beside)]
    if not options.lean:
        other = {"plain": "scoped", "scoped": "plain"}[options.beside]
        sides.append(GoControlPlane(peer, other))
    turns = [(side, mode) for mode in ("delta", "sotw") for side in sides]
    if options.policies:
        turns.insert(1, (Meshwright(policies=options.policies), "delta"))
    if not options.lean:
        turns += [(Meshwright(tls=True), "delta"), (GoControlPlane(peer, "plain", tls=True), "delta")]
    return turns


def _line(run: Run, seconds: float) -> str:
    return (
        f"{run.side:28} {run.mode:5} cold start {run.cold_start:7.0f} ms {run.cold_start_bytes / 1e6:6.1f} MB "
        f"(cpu {run.cold_start_cpu:4.1f} s), replaced {_times(run.endpoint_replaced)}, added {_times(run.service_added)}, "
        f"memory {run.memory.pss / 1e6:4.0f} MB, reconnect {run.reconnect_bytes / 1e6:.2f} MB [{seconds:.0f} s]"
    )


def _times(values: Sequence[float]) -> str:
    return "/".join(f"{value:.0f}" for value in values) + " ms"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service")
    parser.add_argument("--proxies", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--replacements", type=int, default=5, help="endpoints replaced in each run; at most 3 in SotW"
    )
    parser.add_argument("--additions", type=int, default=3, help="services added in each run")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds of calm before memory is read")
    parser.add_argument(
        "--meshed", action="store_true", help="endpoints with the metadata for mTLS, on both sides"
    )
    parser.add_argument(
        "--parse",
        choices=("each", "once"),
        default="each",
        help="whether simulated proxies share parsed bodies",
    )
    parser.add_argument(
        "--beside",
        choices=("plain", "scoped"),
        default="scoped",
        help="the peer's shape that rows compare with: `scoped` is the same as Meshwright's (docs/adr/0003)",
    )
    parser.add_argument(
        "--policies", type=int, default=20, help="in force in one more run of ours; 0: leave that out"
    )
    parser.add_argument(
        "--documents", type=int, default=10_000, help="in the store, for the store's rows; 0: leave them out"
    )
    parser.add_argument(
        "--kubernetes",
        type=int,
        default=2_000,
        help="Services of ten endpoints in a real API server, for its rows; 0: leave them out",
    )
    parser.add_argument("--lean", action="store_true", help="leave out TLS and the peer in the other shape")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a ratio is above its limit")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
