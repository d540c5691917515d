"""`python -m tests.fuzz.run TARGET [--seconds N] [--corpus DIRECTORY]`, or `--list`: exit code 0 unless something was found, which is then printed.

What was found is written to `build/fuzz`: `python -m tests.fuzz.run TARGET --input FILE` shows it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["ca", "documents", "envoy", "mesh", "policies", "xds", "yaml", "jwt"]
):
    from tests.fuzz.targets import seeds, targets


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.fuzz.run")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--list", action="store_true", help="the targets, a line each")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="kept between runs, so that each goes on from the last")
    parser.add_argument("--input", type=Path, help="only this one")
    given = parser.parse_args()
    found = targets()
    if given.list:
        print(*found, sep="\n")
        return
    target = found.get(given.target)
    if target is None:
        parser.error(f"no target {given.target!r}: there are {', '.join(found)}")
    if given.input is not None:
        target(given.input.read_bytes())
        return
    with tempfile.TemporaryDirectory(prefix="meshwright-fuzz-") as folder:
        corpus = given.corpus or Path(folder)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(given.target, target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        artifacts = Path("build/fuzz")
        artifacts.mkdir(parents=True, exist_ok=True)
        options = [
            f"-max_total_time={given.seconds}",
            f"-artifact_prefix={artifacts}/{given.target}-",
            "-timeout=10",  # seconds that one input may take
            "-rss_limit_mb=2048",
            "-max_len=16384",
            "-print_final_stats=1",
            "-verbosity=0",
        ]
        atheris.Setup([sys.argv[0], *options, str(corpus)], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
