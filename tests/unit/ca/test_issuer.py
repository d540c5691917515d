from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from ca.issuer import RenewalSchedule, SecretIssuer
from ca.peer import proved
from ca.times import renewal_time
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from tests.support.ca_builders import API, API_1, START, HandClock, an_authority, certificates, no_chance


async def test_a_secret_is_the_workloads_key_and_chain(tmp_path: Path) -> None:
    authority = an_authority(tmp_path, HandClock())
    made = await SecretIssuer(authority, HandClock(), no_chance).issue(API, API_1)
    secret = Secret.FromString(made.resource)
    assert secret.name == "identity"
    chain = secret.tls_certificate.certificate_chain.inline_bytes
    key = serialization.load_pem_private_key(secret.tls_certificate.private_key.inline_bytes, None)
    assert certificates(chain)[0].public_key() == key.public_key()
    assert (proved(chain).identity, proved(chain).workload) == (API, API_1)
    assert made.not_after == START + timedelta(hours=24)
    assert made.renew_at == START + timedelta(hours=12)


async def test_each_secret_has_a_key_of_its_own(tmp_path: Path) -> None:
    issuer = SecretIssuer(an_authority(tmp_path), HandClock(), no_chance)
    one, two = await issuer.issue(API, API_1), await issuer.issue(API, API_1)
    assert one.serial != two.serial
    assert one.resource != two.resource


async def test_no_repr_shows_the_key(tmp_path: Path) -> None:
    made = await SecretIssuer(an_authority(tmp_path), HandClock(), no_chance).issue(API, API_1)
    pem = Secret.FromString(made.resource).tls_certificate.private_key.inline_bytes.decode()
    body = re.findall(r"^[A-Za-z0-9+/=]{40,}$", pem, re.MULTILINE)
    assert body
    assert not [line for line in body if line in repr(made) or line in str(made)]
    assert "PRIVATE" not in repr(made)


async def test_the_roots_are_the_bundle(tmp_path: Path) -> None:
    authority = an_authority(tmp_path)
    secret = Secret.FromString(SecretIssuer(authority, HandClock(), no_chance).roots())
    assert secret.name == "roots"
    assert secret.validation_context.trusted_ca.inline_bytes == authority.roots().pem


@pytest.mark.parametrize(("chance", "hours"), [(0.0, 9.6), (0.5, 12.0), (0.999999, 14.4)])
def test_renewal_is_at_half_of_the_life_with_jitter(chance: float, hours: float) -> None:
    at = renewal_time(START, START + timedelta(hours=24), chance)
    assert (at - START).total_seconds() / 3600 == pytest.approx(hours, abs=0.001)


def test_the_schedule_gives_what_is_due_once() -> None:
    schedule: RenewalSchedule[str] = RenewalSchedule()
    assert schedule.next() is None
    for name, minutes in (("late", 30), ("early", 10), ("gone", 5), ("moved", 1)):
        schedule.put(name, START + timedelta(minutes=minutes))
    schedule.remove("gone")
    schedule.remove("never there")
    schedule.put("moved", START + timedelta(minutes=20))
    assert schedule.next() == START + timedelta(minutes=10)
    assert schedule.due(START) == ()
    assert schedule.due(START + timedelta(minutes=20)) == ("early", "moved")
    assert schedule.due(START + timedelta(minutes=20)) == ()
    assert len(schedule) == 1
    assert schedule.next() == START + timedelta(minutes=30)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 50))), max_size=300),
    st.integers(0, 50),
)
def test_the_schedule_agrees_with_a_dictionary(steps: list[tuple[int, int | None]], now: int) -> None:
    schedule: RenewalSchedule[int] = RenewalSchedule()
    model: dict[int, int] = {}
    for key, minutes in steps:
        if minutes is None:
            schedule.remove(key)
            model.pop(key, None)
        else:
            schedule.put(key, START + timedelta(minutes=minutes))
            model[key] = minutes
    assert len(schedule) == len(model)
    assert schedule.next() == (START + timedelta(minutes=min(model.values())) if model else None)
    due = schedule.due(START + timedelta(minutes=now))
    assert sorted(due) == sorted(key for key, minutes in model.items() if minutes <= now)
    assert [model[key] for key in due] == sorted(model[key] for key in due)
    assert len(schedule._heap) <= 2 * len(schedule) + 128
