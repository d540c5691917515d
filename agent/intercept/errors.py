"""What can keep rules from being set up or taken away.

AgentError
└── InterceptError
    ├── BadInterception     an option that cannot be
    ├── NotPrivileged       this user may not change the network
    ├── ProgramMissing      iptables or ip is not installed
    ├── TableMissing        the kernel has no such table, match or target
    └── CommandFailed       a program said no for another reason
"""

from __future__ import annotations

from agent.errors import AgentError


class InterceptError(AgentError):
    pass


class BadInterception(InterceptError, ValueError):
    exit_code = 2


class NotPrivileged(InterceptError):
    exit_code = 9


class ProgramMissing(InterceptError):
    exit_code = 10


class TableMissing(InterceptError):
    exit_code = 11


class CommandFailed(InterceptError):
    pass
