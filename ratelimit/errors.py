"""What can go wrong in this room.

RateLimitError
├── InvalidLimit    a limit or a rule that cannot be
├── InvalidRequest  a proxy asked something that has no meaning; it is told why
├── InvalidRedis    how Redis is to be reached makes no sense; the address is never quoted, for it may hold a password
└── CountersAway    the counters did not answer in time, or not at all

No message carries a password, nor the value of a descriptor: that may be a header, and the header an API key.
"""

from __future__ import annotations


class RateLimitError(Exception):
    """Base of the errors of this room. `str()` says what happened, where, and the way out."""


class InvalidLimit(RateLimitError):
    pass


class InvalidRequest(RateLimitError):
    pass


class InvalidRedis(RateLimitError):
    pass


class CountersAway(RateLimitError):
    pass
