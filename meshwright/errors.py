"""What can go wrong in the program itself.

MeshwrightError
├── SettingsError      a setting is missing or wrong
├── UnreachableError   the control plane does not answer on its admin socket
└── DemoError          the demo did not come up, or its check failed
"""

from __future__ import annotations


class MeshwrightError(Exception):
    """Base. `str()` says what happened and what to do; the command line prints it and exits with 1."""


class SettingsError(MeshwrightError):
    pass


class UnreachableError(MeshwrightError):
    pass


class DemoError(MeshwrightError):
    pass
