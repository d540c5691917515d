"""Getting the agent's certificate, and keeping it: join, then renew at half of its life, for as long as the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

from cryptography import x509
from structlog.typing import FilteringBoundLogger

from agent.backoff import Backoff
from agent.errors import AgentError, BadOption, DamagedIdentity, NeedsToken, NotOurControlPlane, Unavailable
from agent.identity_store import IdentityStore, StoredIdentity, parse_identity
from agent.join import ControlPlane, ProofKind, join, renew
from agent.stopping import first
from ca.csr import make_csr
from ca.errors import InsecureFile
from ca.federation import Federated
from ca.files import read_private
from ca.keys import KeyType, PrivateKey, key_pem, new_key
from ca.times import Chance, Clock, renewal_time
from mesh.names import Key
from mesh.workload import Locality
from pb.meshwright.join.v1.join_pb2 import Certificate

LONGEST_SLEEP: Final = 60.0
"""Seconds. Longer waits are cut into pieces: a clock that was set, or a host that slept, is noticed."""
WARN_BELOW: Final = 0.25
"""The part of a certificate's life that is left when failures to renew become warnings of an end that is near."""

Sleep = Callable[[float], Awaitable[None]]
Take = Callable[[StoredIdentity], None]


def served_to_nobody(held: StoredIdentity) -> None:
    """For an agent whose Envoy has its keys from the control plane."""
    del held


_WORDS: Final[dict[ProofKind, str]] = {
    "join_token": "join token",
    "jwt": "JWT",
    "consul_token": "Consul token",
    "kubernetes_token": "service account token",
}
_PROJECTED: Final[frozenset[ProofKind]] = frozenset(("jwt", "kubernetes_token"))
"""Proofs that somebody else puts into a file, with a mode of his own."""


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where a proof is found when one is needed. The file is read each time, so that a new one may be put there.

    `kind` is the name of its field in JoinRequest. A JWT's file may be readable by others: a projected one is, in its own mount. `cluster`
    is the control plane's name for the Kubernetes cluster whose token it is.
    """

    token: str | None = field(default=None, repr=False)
    file: Path | None = None
    kind: ProofKind = "join_token"
    cluster: str = ""

    @property
    def words(self) -> str:
        return _WORDS[self.kind]

    def read(self) -> str | None:
        """None if there is none: `lack` says why. NeedsToken if the file cannot be read."""
        if self.token:
            return self.token
        if self.file is None:
            return None
        try:
            read = self.file.read_bytes() if self.kind in _PROJECTED else read_private(self.file)
            token = read.decode().strip()
        except FileNotFoundError:
            return None
        except (OSError, InsecureFile, UnicodeDecodeError) as error:
            raise NeedsToken(f"the {self.words} cannot be read: {error}") from error
        of_cluster = self.kind == "kubernetes_token" and self.cluster
        return (f"{self.cluster}:{token}" if of_cluster else token) if token else None

    def lack(self) -> str:
        """Why `read` found no token; empty if none was spoken of. OSError if that cannot be found out."""
        if self.file is None:
            return ""
        return (
            f"token file {self.file} is empty"
            if self.file.exists()
            else f"token file {self.file}: no such file"
        )


@dataclass(frozen=True, slots=True)
class Membership:
    """Whom to join, as whom, and by what."""

    workload: Key
    trust_domain: str
    join_address: str
    renew_address: str
    bundle: Path
    tokens: TokenSource
    key_type: KeyType = KeyType.ECDSA_P256


class CertificateKeeper:
    """Holds the agent's certificate valid: `obtain` it once, then `keep` it for as long as the agent lives."""

    def __init__(
        self,
        membership: Membership,
        store: IdentityStore,
        *,
        clock: Clock,
        chance: Chance,
        log: FilteringBoundLogger,
        sleep: Sleep = asyncio.sleep,
        on_held: Take = served_to_nobody,
    ) -> None:
        """`on_held` is told what is in use from now on, whenever that is another certificate or bundle. It must neither block nor raise."""
        self._on_held = on_held
        self._membership = membership
        self._store = store
        self._clock = clock
        self._chance = chance
        self._log = log
        self._sleep = sleep
        self._held: StoredIdentity | None = None
        self._token: str | None = None
        self._renew_at = clock()
        self._hastened = asyncio.Event()
        self._saving = asyncio.Lock()
        self._bundles = 0
        self._renewed = asyncio.Event()

    @property
    def held(self) -> tuple[StoredIdentity, asyncio.Event]:
        """What is in use, after `obtain`; and an event that is set when another certificate has taken its place."""
        if self._held is None:
            raise RuntimeError("no identity has been obtained yet: await obtain() first")
        return self._held, self._renewed

    async def obtain(self) -> StoredIdentity:
        """The stored identity while it is valid, which needs no control plane; else a new one by the token.

        Waits for a control plane that is away. Errors: JoinRefused, NotOurControlPlane, NeedsToken, DamagedIdentity, and
        BadOption for a bundle that is none.
        """
        stored = await self._load()
        if stored is not None and stored.not_after > self._clock():
            self._renew_at = renewal_time(stored.issued, stored.not_after, self._chance())
            self._hold("identity loaded", stored)
            return stored
        backoff = Backoff(self._chance)
        while True:
            try:
                return await self._join(stored)
            except Unavailable as error:
                delay = backoff.next()
                self._log.warning("joining has to wait", reason=str(error), retry_in=round(delay, 1))
                await self._sleep(delay)

    async def keep(self) -> NoReturn:
        """Renew what `obtain` gave and what follows it, without end.

        No failure ends it: the data plane goes on with what it has. Once the certificate has expired it takes a join
        token, as at the first start: one is looked for at each try.
        """
        held = self._held or await self.obtain()
        backoff = _renewal_backoff(held, self._chance)
        while True:
            await self._until_due()
            held, _ = self.held  # its bundle may have changed meanwhile
            try:
                held = await (self._join(held) if held.not_after <= self._clock() else self._renew(held))
            except (AgentError, OSError) as error:
                delay = backoff.next()
                self._renew_at = self._clock() + timedelta(seconds=delay)
                self._report(held, error, delay)
            else:
                backoff = _renewal_backoff(held, self._chance)

    async def take_bundle(
        self, roots_pem: bytes, federated: Federated = (), trust_domains: Iterable[str] = ()
    ) -> None:
        """`trust_domains`: all in which the mesh names its workloads. Trust `roots_pem` from now on: on disk, hence by Envoy's connection to the control plane, and in our own. `federated` is for the
        workload's own peers alone.

        DamagedIdentity if that is no bundle; OSError leaves the one before.
        """
        async with self._saving:
            held, _ = self.held
            names = self._names(trust_domains)
            taken = parse_identity(held.key_pem, held.chain_pem, roots_pem, federated, names)
            taken = replace(taken, locality=held.locality)
            if taken == held:
                return
            await asyncio.to_thread(self._store.save, taken)
            self._held = taken
            self._bundles += 1
            self._on_held(self._held)
        self._log.info(
            "trust bundle taken",
            roots=len(x509.load_pem_x509_certificates(roots_pem)),
            federated=[each.trust_domain for each in federated],
            aliases=taken.aliases,
        )

    def hasten(self, seconds: float) -> None:
        """Renew after so many seconds, if not before."""
        self._renew_at = min(self._renew_at, self._clock() + timedelta(seconds=seconds))
        self._hastened.set()

    async def _until_due(self) -> None:
        while (left := (self._renew_at - self._clock()).total_seconds()) > 0:
            self._hastened.clear()
            await first(self._sleep(min(left, LONGEST_SLEEP)), self._hastened.wait())

    async def _load(self) -> StoredIdentity | None:
        membership = self._membership
        try:
            stored = await asyncio.to_thread(self._store.load)
        except DamagedIdentity as error:
            self._token = await asyncio.to_thread(membership.tokens.read)
            if self._token is None:
                raise
            self._log.warning("the stored identity is not used", reason=str(error))
            return None
        if stored is not None:
            self._check(stored, "the stored identity", "give each workload a directory of its own")
        return stored

    async def _join(self, expired: StoredIdentity | None) -> StoredIdentity:
        membership = self._membership
        # A pipe (`--token-file <(...)`) can be read once only: while joining has to wait, what it held is kept.
        token = self._token = await asyncio.to_thread(membership.tokens.read) or self._token
        if token is None:
            what = (
                "this workload has no certificate yet"
                if expired is None
                else f"the certificate expired at {expired.not_after.isoformat()}"
            )
            lack = await asyncio.to_thread(membership.tokens.lack)
            remedy = (
                "give a join token, made by `meshwright token create`"
                if membership.tokens.kind == "join_token"
                else f"put a {membership.tokens.words} there"
            )
            raise NeedsToken(f"{what}{f', and {lack}' if lack else ''}: {remedy}")
        key = await asyncio.to_thread(self._store.pending_key, membership.key_type)
        roots = await asyncio.to_thread(self._bundle)
        if expired is not None:
            # The operator's file may be older than a rotation of roots that this agent has followed, or newer.
            roots += b"\n" + expired.roots_pem
        server = ControlPlane(membership.join_address, membership.trust_domain, roots)
        answer = await join(server, membership.tokens.kind, token, membership.workload, make_csr(key))
        self._token = None
        return await self._take("joined", key, answer, self._bundles)

    async def _renew(self, held: StoredIdentity) -> StoredIdentity:
        membership = self._membership
        # By the name that it has in the trust domain that vouches for us.
        server = ControlPlane(membership.renew_address, held.identity.trust_domain, held.roots_pem)
        key = await asyncio.to_thread(new_key, self._membership.key_type)
        bundles = self._bundles
        answer = await renew(server, held, make_csr(key))
        return await self._take("certificate renewed", key, answer, bundles)

    async def _take(self, event: str, key: PrivateKey, answer: Certificate, bundles: int) -> StoredIdentity:
        """Check, store and hold what the control plane answered to a question of when `bundles` had been taken."""
        async with self._saving:
            # A bundle that came while the answer was on its way is newer, or as new.
            newer = self._held.roots_pem if self._held and self._bundles != bundles else answer.roots_pem
            federated = self._held.federated if self._held else ()
            names = self._names(answer.trust_domains)
            granted = parse_identity(key_pem(key), answer.chain_pem, newer, federated, names)
            granted = replace(granted, locality=self._place(answer))
            self._check(granted, "the control plane's answer", "see the control plane's log")
            await asyncio.to_thread(self._store.save, granted)
            self._held = granted
        replaced, self._renewed = self._renewed, asyncio.Event()
        replaced.set()
        self._renew_at = datetime.fromtimestamp(answer.renew_at, UTC)
        self._hold(event, granted)
        return granted

    def _place(self, answer: Certificate) -> Locality:
        """A control plane that has just begun knows of no place yet, which changes none."""
        said = Locality(answer.locality.region, answer.locality.zone, answer.locality.sub_zone)
        return self._held.locality if said == Locality() and self._held else said

    def _names(self, told: Iterable[str]) -> tuple[str, ...]:
        """What the control plane says the mesh is called; by what this agent was told to call it, too, once that was another name of it."""
        held, own = self._held, self._membership.trust_domain
        known = held is not None and own in held.trust_domains.all
        return (*told, own) if known else tuple(told)

    def _check(self, found: StoredIdentity, where: str, remedy: str) -> None:
        membership = self._membership
        ours = membership.trust_domain in found.trust_domains.all
        if found.workload != membership.workload or not ours:
            raise DamagedIdentity(
                f"{where} is for {found.workload} in {found.identity.trust_domain!r}, not for "
                f"{membership.workload} in {membership.trust_domain!r}: {remedy}"
            )

    def _hold(self, event: str, held: StoredIdentity) -> None:
        self._held = held
        self._on_held(held)
        self._log.info(
            event,
            identity=held.identity.uri,
            not_after=held.not_after.isoformat(timespec="seconds"),
            renew_at=self._renew_at.isoformat(timespec="seconds"),
        )

    def _report(self, held: StoredIdentity, error: Exception, delay: float) -> None:
        left = held.not_after - self._clock()
        told = {"reason": str(error), "not_after": held.not_after.isoformat(), "retry_in": round(delay, 1)}
        if left <= timedelta(0):
            self._log.error(
                "the certificate has expired: a new connection to the control plane needs a join token",
                **told,
            )
        elif left < WARN_BELOW * (held.not_after - held.issued):
            self._log.error("the certificate ends soon and could not be renewed", **told)
        else:
            self._log.warning("the certificate could not be renewed yet", **told)

    def _bundle(self) -> bytes:
        path = self._membership.bundle
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise NotOurControlPlane(
                f"the trust bundle cannot be read ({error}): copy roots.pem from the control plane's data directory"
            ) from error
        try:
            # gRPC takes a bundle of nothing for a control plane that is away, and would try it for ever.
            x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise BadOption(
                f"{path} holds no certificate: copy roots.pem of the control plane's data directory"
            ) from error
        return pem


def _renewal_backoff(held: StoredIdentity, chance: Chance) -> Backoff:
    """Delays fit for the life of `held`: from the middle of it to its end there is time for ten tries at least."""
    maximum = min(300.0, (held.not_after - held.issued).total_seconds() / 20)
    return Backoff(chance, first=min(1.0, maximum / 4), maximum=maximum)
