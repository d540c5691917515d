"""What can go wrong in this room.

CaError
├── AuthorityError            the authority cannot issue
│   ├── SealedAuthority       its keys are encrypted, and the passphrase is missing or wrong
│   ├── DamagedAuthority      its files are missing, damaged or do not belong together
│   ├── WrongTrustDomain      its files are those of another trust domain
│   ├── InsecureFile          a private file can be read by others
│   ├── AuthorityExpired      the root or the intermediate has ended
│   └── AuthorityNotYetValid  the root begins in the future: a clock is or was wrong
├── CannotRotate              a rotation that cannot be begun, turned back or gone on with now
├── CannotMove                a trust domain that the mesh cannot move to, or leave behind, yet
├── CsrRefused                a certificate signing request that is not acceptable
├── UnusableBundle            a trust bundle of a foreign trust domain that is not taken as it is
├── UnusablePeer              a verified certificate that does not say which workload it is
├── NotProved                 what was shown proves nothing: unknown, ended, used up, wrongly signed …
├── ProvedAnother             what was shown is good, but not for this workload
├── ProofUnavailable          whoever can judge what was shown does not answer: come again
└── TokenError                a join token that does not let its bearer in
    ├── UnknownToken          malformed, never made, revoked, or with a wrong secret: one error for all of these (NotProved)
    ├── ExpiredToken          (NotProved)
    ├── UsedUpToken           (NotProved)
    └── TokenForAnother       it does not cover the workload it was shown for (ProvedAnother)

No message carries a key, a token or a secret.
"""

from __future__ import annotations


class CaError(Exception):
    """Base of the errors of this room. `str()` says what happened, where, and the way out."""


class AuthorityError(CaError):
    pass


class SealedAuthority(AuthorityError):
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


class CannotRotate(CaError):
    pass


class CannotMove(CaError):
    pass


class CsrRefused(CaError):
    pass


class UnusableBundle(CaError):
    pass


class UnusablePeer(CaError):
    pass


class NotProved(CaError):
    pass


class ProvedAnother(CaError):
    pass


class ProofUnavailable(CaError):
    pass


class TokenError(CaError):
    pass


class UnknownToken(TokenError, NotProved):
    pass


class ExpiredToken(TokenError, NotProved):
    pass


class UsedUpToken(TokenError, NotProved):
    pass


class TokenForAnother(TokenError, ProvedAnother):
    pass
