"""An authority that several control planes share: made once, renewed in time, and moved to a new root without shutting anybody out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from cryptography import x509

from ca.errors import CannotRotate, DamagedAuthority
from ca.profile import INTERMEDIATE_LIFETIME, ROOT_LIFETIME
from ca.shared import KEY, NEXT, ROOT, ROOTS, STATE, Making, SharedAuthority, Stage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = timedelta(hours=24)
WAIT = timedelta(hours=25)


def a_making() -> Making:
    numbers = count(1 << 156, 1 << 100)  # the first digits of a serial are in the name of its certificate
    return Making("mesh.test", WAIT, serials=lambda: next(numbers))


def kept(authority: SharedAuthority, now: datetime = NOW) -> SharedAuthority:
    """As another replica reads it."""
    return SharedAuthority.read(authority.files(), "the Secret", now)


def test_what_is_written_is_what_is_read() -> None:
    made = a_making().made(NOW)
    read = kept(made)
    assert read.files() == made.files()
    read.signer.certificate.verify_directly_issued_by(read.roots[0])
    assert a_making().due(NOW, read) is None


def test_the_intermediate_is_renewed_at_half_of_its_life() -> None:
    making = a_making()
    made = making.made(NOW)
    later = NOW + INTERMEDIATE_LIFETIME * 0.6
    renewed = making.due(later, kept(made))
    assert renewed is not None
    assert renewed.roots == made.roots
    assert renewed.signer.certificate.not_valid_after_utc > made.signer.certificate.not_valid_after_utc
    assert making.due(later, renewed) is None


def test_a_rotation_shuts_nobody_out() -> None:
    """Whoever holds a leaf was given the bundle with it or later: every leaf that is good holds before every bundle that may be about."""
    making = a_making()
    authority = making.made(NOW)
    step, states = timedelta(hours=1), []
    now, asked = NOW, ""
    while now < NOW + timedelta(days=5):
        if now == NOW + timedelta(hours=30):
            asked = "2026"
        authority = making.due(now, kept(authority, now), asked) or authority
        states.append((now, authority))
        now += step
    assert {state.state.stage for _, state in states} == set(Stage)
    for signed_at, signer in states:
        for taken_at, holder in states:
            if abs(signed_at - taken_at) < LIFE:  # both may be in use at one moment
                issuer = next(
                    root for root in signer.roots if root.subject == signer.signer.certificate.issuer
                )
                assert issuer in holder.roots, f"signed at {signed_at}, bundle of {taken_at}"
    first, last = states[0][1], states[-1][1]
    assert last.state.stage is Stage.STABLE
    assert len(last.roots) == 1
    assert last.roots != first.roots
    assert making.due(now, last, "2026") is None, "what was asked for is done once"


def test_a_root_is_replaced_by_itself_before_it_ends() -> None:
    making = a_making()
    begun = making.due(NOW + ROOT_LIFETIME * 0.85, making.made(NOW))
    assert begun is not None
    assert begun.state.stage is Stage.TRUSTING
    assert NEXT in begun.files()


def test_without_the_roots_key_somebody_else_rotates() -> None:
    making = a_making()
    given = replace(making.made(NOW), root=None)
    assert making.due(NOW + INTERMEDIATE_LIFETIME * 0.9, given) is None
    with pytest.raises(CannotRotate, match=ROOTS):
        making.due(NOW, given, "now")


@pytest.mark.parametrize(
    ("name", "content"),
    [(KEY, b""), (ROOT, b"-----BEGIN NONSENSE-----"), (ROOTS, b"x"), (STATE, b"{}")],
)
def test_damage_is_told_and_never_quoted(name: str, content: bytes) -> None:
    files = a_making().made(NOW).files() | {name: content}
    with pytest.raises(DamagedAuthority, match="the Secret") as raised:
        SharedAuthority.read(files, "the Secret", NOW)
    assert "PRIVATE" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_what_is_missing_is_named() -> None:
    files = a_making().made(NOW).files()
    del files[KEY]
    with pytest.raises(DamagedAuthority, match=KEY):
        SharedAuthority.read(files, "the Secret", NOW)


def test_root_and_leaf_are_of_the_trust_domain() -> None:
    made = a_making().made(NOW)
    for certificate in (made.signer.certificate, *made.roots):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://mesh.test"]
