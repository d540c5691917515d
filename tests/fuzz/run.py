"""`python -m tests.fuzz.run TARGET [--seconds N] [--corpus DIRECTORY]`, or `--list`: exit code 0 unless something was found, which is then printed.

With `--all` in place of a target each of them has its turn, in a process of its own: what takes longest, to instrument what is fuzzed, is done once.

What was found is written to `build/fuzz`: `python -m tests.fuzz.run TARGET --input FILE` shows it again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["ca", "documents", "envoy", "mesh", "policies", "store", "xds", "yaml", "jwt"]
):
    from tests.fuzz.targets import seeds, targets

Target = Callable[[bytes], None]
AT_ONCE = 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.fuzz.run")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--list", action="store_true", help="the targets, a line each")
    parser.add_argument("--all", action="store_true", help="every target, two at a time")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="kept between runs, so that each goes on from the last")
    parser.add_argument("--input", type=Path, help="only this one")
    given = parser.parse_args()
    found = targets()
    if given.list:
        print(*found, sep="\n")
        return
    if given.all:
        sys.exit(_every(found, given.seconds, given.corpus))
    target = found.get(given.target)
    if target is None:
        parser.error(f"no target {given.target!r}: there are {', '.join(found)}")
    if given.input is not None:
        target(given.input.read_bytes())
        return
    with _folder(given.corpus) as corpus:
        _fuzz(given.target, target, given.seconds, corpus)


def _fuzz(name: str, target: Target, seconds: int, corpus: Path) -> None:
    """It does not return: the fuzzer ends the process."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name, target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    artifacts = Path("build/fuzz")
    artifacts.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={artifacts}/{name}-",
        "-timeout=10",  # seconds that one input may take
        "-rss_limit_mb=2048",
        "-max_len=16384",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target)
    atheris.Fuzz()


def _every(found: dict[str, Target], seconds: int, folder: Path | None) -> int:
    """What each target said, under its name; 1 if any of them found something."""
    left, running, failed = list(found), dict[int, str](), False
    with _folder(folder) as corpora:
        while left or running:
            while left and len(running) < AT_ONCE:
                name = left.pop(0)
                running[_forked(name, found[name], seconds, corpora)] = name
            ended, status = os.wait()
            name = running.pop(ended)
            failed = failed or status != 0
            print(f"== {name}: {'something was found' if status else 'nothing was found'}")
            print((corpora / f"{name}.log").read_text(errors="replace"), flush=True)
    return 1 if failed else 0


def _forked(name: str, target: Target, seconds: int, corpora: Path) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    said = os.open(corpora / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for each in (1, 2):
        os.dup2(said, each)
    try:
        _fuzz(name, target, seconds, corpora / name)
    finally:
        os._exit(70)  # reached only if it did not begin


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """`given`, or one that is there for now."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="meshwright-fuzz-") as made:
        yield Path(made)


if __name__ == "__main__":
    main()
