"""What can go wrong in this room.

CaError
├── AuthorityError            the authority cannot issue
│   ├── DamagedAuthority      its files are missing, damaged or do not belong together
│   ├── WrongTrustDomain      its files are those of another trust domain
│   ├── InsecureFile          a private file can be read by others
│   ├── AuthorityExpired      the root or the intermediate has ended
│   └── AuthorityNotYetValid  the root begins in the future: a clock is or was wrong
├── CsrRefused                a certificate signing request that is not acceptable
├── UnusablePeer              a verified certificate that does not say which workload it is
└── TokenError                a join token that does not let its bearer in
    ├── UnknownToken          malformed, never made, revoked, or with a wrong secret: one error for all of these
    ├── ExpiredToken
    ├── UsedUpToken
    └── TokenForAnother       it does not cover the workload it was shown for

No message carries a key, a token or a secret.
"""

from __future__ import annotations


class CaError(Exception):
    """Base of the errors of this room. `str()` says what happened, where, and the way out."""


class AuthorityError(CaError):
    pass


class DamagedAuthority(AuthorityError):
    pass


class WrongTrustDomain(AuthorityError):
    pass


class InsecureFile(AuthorityError):
    pass


class AuthorityExpired(AuthorityError):
    pass


class AuthorityNotYetValid(AuthorityError):
    pass


class CsrRefused(CaError):
    pass


class UnusablePeer(CaError):
    pass


class TokenError(CaError):
    pass


class UnknownToken(TokenError):
    pass


class ExpiredToken(TokenError):
    pass


class UsedUpToken(TokenError):
    pass


class TokenForAnother(TokenError):
    pass
