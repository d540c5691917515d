"""What can go wrong with a store as a whole.

StoreError
└── DirectoryUnavailable   the directory, or a folder in it, is not there or cannot be listed
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of the errors of this package. `str()` says what happened, where, and the way out."""


class DirectoryUnavailable(StoreError):
    pass
