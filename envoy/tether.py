"""Run as a program, it becomes another one that ends when its parent does: `tether.py <parent's pid> <command> …`.

Without it, an agent that is killed (SIGKILL, out of memory) leaves an Envoy that nobody renews certificates for, and that
holds the ports the next one needs. A program of its own, since no Python may safely run between fork and exec in a process
with threads, which an agent with gRPC has. Linux only; it needs nothing but the standard library, and starts with
`python -I -S` in some 20 ms.

https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html: the signal survives the exec, unless the program has
capabilities of its own (setcap); and it comes when the *thread* ends that started it, which has to be one that lasts.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
CANNOT_START: Final = 126
"""As a shell's exit code for a command that was found and cannot be run."""


def main(parent: int, command: list[str]) -> int:
    """Returns only if `command` cannot be run, or there is nobody left to run it for."""
    # SIGKILL, because an Envoy that hangs must not keep its ports either.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        sys.stderr.write(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}\n")
        return CANNOT_START
    if os.getppid() != parent:  # it ended before we asked to be told
        return CANNOT_START
    # A core file would hold the workload's private key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Python ignores these, and what is ignored stays so after an exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 (which is the point of it)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error}\n")
    return CANNOT_START


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
