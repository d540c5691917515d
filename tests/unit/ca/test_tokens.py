from __future__ import annotations

import json
import multiprocessing
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from ca.errors import (
    CaError,
    ExpiredToken,
    InsecureFile,
    TokenError,
    TokenForAnother,
    UnknownToken,
    UsedUpToken,
)
from ca.tokens import TokenStore
from mesh.errors import InvalidName
from mesh.names import Key
from tests.support.ca_builders import START

HOUR = timedelta(hours=1)


def files_of(directory: Path) -> list[Path]:
    return sorted((directory / "tokens").glob("*.json"))


def test_a_token_is_kept_as_a_hash_for_its_owner_alone(tmp_path: Path) -> None:
    token = TokenStore(tmp_path).create("default", "api", now=START)
    assert token.startswith("mwj_")
    (path,) = files_of(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert token.partition(".")[2] not in path.read_text()


def test_a_token_says_who_its_bearer_may_be(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START, uses=2)
    claims = store.redeem(token, "default", "api-1", START)
    assert (claims.workload, claims.service_account) == (Key("default", "api-1"), "api")
    assert store.redeem(token, "default", "api-2", START).workload == Key("default", "api-2")


def test_a_used_up_token_is_refused(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START)
    store.redeem(token, "default", "api-1", START)
    for attempt in (store.verify, store.redeem):
        with pytest.raises(UsedUpToken, match="1 of 1"):
            attempt(token, "default", "api-1", START)


def test_the_same_key_again_is_the_same_use(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START)
    for _ in range(3):
        store.redeem(token, "default", "api-1", START, "key")
    assert store.list()[0].used == 1
    with pytest.raises(UsedUpToken):
        store.redeem(token, "default", "api-1", START, "another key")
    with pytest.raises(UsedUpToken):
        store.redeem(token, "default", "api-2", START, "key")


def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START, ttl=HOUR)
    store.verify(token, "default", "api-1", START + HOUR - timedelta(seconds=1))
    with pytest.raises(ExpiredToken, match="2030-01-01T01:00"):
        store.redeem(token, "default", "api-1", START + HOUR)


@pytest.mark.parametrize(("namespace", "workload"), [("default", "api-2"), ("other", "api-1")])
def test_a_token_is_for_its_workload(tmp_path: Path, namespace: str, workload: str) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", workload="api-1", now=START)
    with pytest.raises(TokenForAnother, match="default/api-1"):
        store.redeem(token, namespace, workload, START)
    store.redeem(token, "default", "api-1", START)  # the refusals were no uses


@pytest.mark.parametrize("change", ["secret", "id", "prefix", "short", "long", "path", "empty"])
def test_unknown_tokens_are_refused_alike(tmp_path: Path, change: str) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START)
    head, _, secret = token.partition(".")
    wrong = {
        "secret": f"{head}.{secret[::-1]}",
        "id": f"mwj_{'a' * 16}.{secret}",
        "prefix": token.removeprefix("mwj_"),
        "short": token[:-1],
        "long": token + "A",
        "path": f"mwj_../../../../etc.{secret}",
        "empty": "",
    }[change]
    with pytest.raises(UnknownToken) as caught:
        store.redeem(wrong, "default", "api-1", START)
    assert str(caught.value) == "the join token is unknown: make one with `meshwright token create`"


def test_no_error_quotes_a_secret(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", workload="api-1", now=START)
    secret = token.partition(".")[2]
    store.redeem(token, "default", "api-1", START)
    told: list[str] = [repr(store.list())]
    for shown, workload, now in (
        (token, "api-1", START),
        (token, "api-2", START),
        (token, "api-1", START + 2 * HOUR),
        (token + "x", "api-1", START),
    ):
        with pytest.raises(CaError) as caught:
            store.redeem(shown, "default", workload, now)
        told.append(repr(caught.value))
    assert not [each for each in told if secret in each or secret[:20] in each]


def test_a_revoked_token_is_unknown(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START)
    (record,) = store.list()
    store.revoke(record.token_id)
    assert store.list() == ()
    with pytest.raises(UnknownToken):
        store.redeem(token, "default", "api-1", START)
    for wrong in (record.token_id, "../../roots"):
        with pytest.raises(UnknownToken):
            store.revoke(wrong)


@pytest.mark.parametrize("uses", [0, -1, 1_000_001])
def test_impossible_uses_are_refused(tmp_path: Path, uses: int) -> None:
    with pytest.raises(TokenError):
        TokenStore(tmp_path).create("default", "api", now=START, uses=uses)


def test_impossible_names_are_refused(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    with pytest.raises(TokenError):
        store.create("default", "api", now=START, ttl=timedelta(0))
    with pytest.raises(InvalidName):
        store.create("default", "a/b", now=START)
    with pytest.raises(InvalidName):
        store.create("../x", "api", now=START)
    with pytest.raises(InvalidName):
        store.create("default", "api", workload="a/b", now=START)
    with pytest.raises(TokenError, match="control plane's own"):
        store.create("meshwright", "control-plane", now=START)
    assert files_of(tmp_path) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START)
    (path,) = files_of(tmp_path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document)[:40])
    with pytest.raises(TokenError, match=str(path)):
        store.redeem(token, "default", "api-1", START)
    path.write_text(json.dumps(document))
    path.chmod(0o644)
    with pytest.raises(InsecureFile):
        store.redeem(token, "default", "api-1", START)


def test_damaged_files_do_not_hide_the_others(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    for number in range(4):
        store.create("default", "api", now=START + number * HOUR)
    everything = store.list()
    assert store.damaged() == ()
    cut, shared, gone = (tmp_path / "tokens" / f"{each.token_id}.json" for each in everything[1:])
    cut.write_text("{")
    shared.chmod(0o644)
    gone.unlink()
    gone.symlink_to(tmp_path)  # stands for what the disk cannot read: a read of it fails for root too
    assert store.list() == everything[:1]
    lines = "\n".join(store.damaged())
    assert len(store.damaged()) == 3
    assert f"{cut} is not a join token: remove it" in lines
    assert f"chmod 600 {shared}" in lines
    assert f"{gone} cannot be read: Is a directory" in lines


def _redeem(directory: str, token: str, results: multiprocessing.Queue[int]) -> None:
    store = TokenStore(Path(directory))
    got = 0
    for number in range(20):
        try:
            store.redeem(token, "default", f"api-{number}", START)
            got += 1
        except UsedUpToken:
            pass
    results.put(got)


def test_processes_share_the_uses(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    token = store.create("default", "api", now=START, uses=30)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_redeem, args=(str(tmp_path), token, results)) for _ in range(2)]
    for process in processes:
        process.start()
    made = [
        store.create("default", "web", now=START) for _ in range(10)
    ]  # meanwhile, as the command line does
    got = sum(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert got == 30
    assert len(store.list()) == 1 + len(made)
