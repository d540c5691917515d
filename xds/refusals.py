"""Who is to blame for a NACK.

Envoy names the culprit for clusters and listeners, the first one for routes, nobody for endpoints and secrets; a broken
constraint comes with a text dump that may name others as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# A name is not part of a longer one: `api` is neither in `api-2` nor in `api.default`, but it is in `api: unknown filter` and `'api'.`
_BEFORE = r"(?<![\w.:/|-])"
_AFTER = r"(?![\w/|-]|[.:]\w)"


def named(names: Sequence[str], message: str) -> list[str]:
    """Those of `names` that stand in `message`."""
    likely = [name for name in names if name and name in message]
    return [name for name in likely if re.search(_BEFORE + re.escape(name) + _AFTER, message)]


def parts(names: Sequence[str], message: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Of a refused response with `names`: the culprits that are known, and in which parts to try the others.

    One that is named, or alone, is the culprit. Several that are named are tried apart from the rest, which thus gets
    through: a text dump may name the innocent. Where none is named, or all are, halves are tried until a culprit is alone.
    """
    if len(names) <= 1:
        return list(names), []
    found = named(names, message)
    if len(found) == 1:
        return found, []
    if 1 < len(found) < len(names):
        suspects = frozenset(found)
        return [], [tuple(name for name in names if name not in suspects), tuple(found)]
    half = len(names) // 2
    return [], [tuple(names[:half]), tuple(names[half:])]
