"""What an API server's answer proves. The real one answers in tests/kubernetes/test_identity.py: here are the answers that it gives too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from ca.errors import NotProved, ProofUnavailable, ProvedAnother
from ca.proof_kubernetes import POD_NAME, REMEMBERED, KubernetesProof, ReviewProof
from mesh.names import Key

API = Key("shop", "api-7d9f")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "s" * 32
BOUND: dict[str, tuple[str, ...]] = {POD_NAME: ("api-7d9f",)}


@dataclass(frozen=True)
class Answer:
    authenticated: bool = True
    username: str = "system:serviceaccount:shop:api"
    extra: dict[str, tuple[str, ...]] | None = field(default_factory=lambda: dict(BOUND))
    audiences: tuple[str, ...] = ("meshwright",)
    problem: str = ""


class Server:
    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.now = NOW
        self.proof = ReviewProof("one", "meshwright", self.review, lambda: self.now)

    async def review(self, token: str, audiences: tuple[str, ...]) -> Answer:
        self.asked.append((token, audiences))
        if self.answer is None:
            raise ProofUnavailable("the API server of one does not answer")
        return self.answer


def a_token(ends: timedelta = timedelta(hours=1)) -> str:
    return jwt.encode({"exp": (NOW + ends).timestamp()}, SECRET)


async def test_the_pod_and_its_service_account_are_proved() -> None:
    server = Server(Answer())
    claim = await server.proof.verify(a_token(), API, "")
    assert (claim.workload, claim.service_account, claim.names_workload) == (API, "api", True)
    assert server.asked[0][1] == ("meshwright",)
    assert a_token() not in claim.by
    assert "shop/api" in claim.by


@pytest.mark.parametrize("workload", [Key("shop", "other"), Key("other", "api-7d9f")])
async def test_it_is_for_its_own_pod_alone(workload: Key) -> None:
    with pytest.raises(ProvedAnother, match="<namespace>/<pod>"):
        await Server(Answer()).proof.verify(a_token(), workload, "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(authenticated=False, problem="token has expired"), "token has expired"),
        (Answer(audiences=()), "audience 'meshwright'"),
        (Answer(audiences=("https://kubernetes.default.svc",)), "audience 'meshwright'"),
        (Answer(username="kubernetes-admin"), "not one of a service account"),
        (Answer(username="system:serviceaccount:shop:api:x"), "not one of a service account"),
        (Answer(extra=None), "bound to no pod"),
        (Answer(extra={POD_NAME: ("a", "b")}), "bound to no pod"),
    ],
)
async def test_what_proves_nothing_says_what_would(answer: Answer, said: str) -> None:
    with pytest.raises(NotProved, match=said):
        await Server(answer).proof.verify(a_token(), API, "")


async def test_an_answer_is_good_for_a_while_and_never_longer_than_the_token() -> None:
    server = Server(Answer())
    short = a_token(timedelta(seconds=5))
    for token in (a_token(), short):
        await server.proof.verify(token, API, "")
        await server.proof.redeem(token, API, "")
    assert len(server.asked) == 2
    server.now += timedelta(seconds=6)
    await server.proof.verify(a_token(), API, "")
    assert len(server.asked) == 2
    await server.proof.verify(short, API, "")
    assert len(server.asked) == 3
    server.now = NOW + REMEMBERED
    await server.proof.verify(a_token(), API, "")
    assert len(server.asked) == 4


async def test_a_refusal_is_asked_for_again() -> None:
    server = Server(Answer(authenticated=False))
    for _ in range(2):
        with pytest.raises(NotProved):
            await server.proof.verify(a_token(), API, "")
    assert len(server.asked) == 2


async def test_each_cluster_judges_its_own() -> None:
    one, two = Server(Answer()), Server(replace(Answer(), username="system:serviceaccount:shop:two"))
    proof = KubernetesProof({"one": one.proof, "two": two.proof}, "one")
    assert (await proof.verify(a_token(), API, "")).service_account == "api"
    assert (await proof.redeem(f"two:{a_token()}", API, "")).service_account == "two"
    assert [len(one.asked), len(two.asked)] == [1, 1]
    with pytest.raises(NotProved, match="no cluster 'three': its clusters are one, two"):
        await proof.verify(f"three:{a_token()}", API, "")


@pytest.mark.parametrize("shown", ["", "two:", "a b", "x" * 20_000, "a:b:c", "Two:abc", "two:a\nb"])
async def test_what_is_no_token_is_shown_to_no_server(shown: str) -> None:
    server = Server(Answer())
    with pytest.raises(NotProved, match="not a service account token"):
        await KubernetesProof({"two": server.proof}, "two").verify(shown, API, "")
    assert not server.asked


async def test_a_server_that_is_away_is_no_refusal() -> None:
    with pytest.raises(ProofUnavailable):
        await Server(None).proof.verify(a_token(), API, "")
