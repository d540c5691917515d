"""The agent's own key, certificate and trust bundle on disk.

    <directory>/pending.key                    the key of a join that has no answer yet
    <directory>/identity/<number>/key.pem      0600
    <directory>/identity/<number>/chain.pem    leaf first
    <directory>/identity/<number>/roots.pem
    <directory>/identity/<number>/federated.json    by foreign trust domain, PEM; only where there is any
    <directory>/identity/<number>/aliases.json      other trust domains that are this mesh's own; only where there is any
    <directory>/identity/<number>/locality.json     region, zone and sub-zone, as the control plane said; only where it said any
    <directory>/identity/current -> <number>

Envoy reads the files through `current` and watches `<directory>/identity`: its file-based SDS reads all of them again when
something is moved into the watched directory (`watched_directory` in
https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/transport_sockets/tls/v3/common.proto). The link is replaced by one
rename, so that neither Envoy nor a crash ever sees a key beside the certificate of another.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from agent.errors import DamagedIdentity
from ca import files
from ca.errors import InsecureFile, UnusableBundle, UnusablePeer
from ca.federation import Federated, in_order, parse_file
from ca.keys import KeyType, PrivateKey, key_pem, kind_of, new_key, private
from ca.peer import proved
from ca.profile import CLOCK_SKEW
from mesh.identity import TRUST_DOMAIN, Identity, TrustDomains
from mesh.names import Key
from mesh.workload import Locality

FEDERATED = "federated.json"
ALIASES = "aliases.json"
LOCALITY = "locality.json"
KEEP = 2
"""The current generation and the one before, which Envoy may be reading."""


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Paths for Envoy. They stay the same when the content is renewed; `watched` is the directory in which that shows."""

    key: Path
    chain: Path
    roots: Path
    watched: Path


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """What the agent has proved to be. `key_pem` is secret and shown by no repr. `federated`: what peers of foreign trust domains are
    verified by, of which Envoy learns from the agent alone. `aliases`: see `mesh.identity.TrustDomains`; that of `identity` is `own`.
    `locality` is where the workload was when it was granted.
    """

    identity: Identity
    workload: Key
    issued: datetime
    not_after: datetime
    chain_pem: bytes = field(repr=False)
    roots_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    federated: Federated = field(default=(), repr=False)
    aliases: tuple[str, ...] = ()
    locality: Locality = Locality()

    @property
    def trust_domains(self) -> TrustDomains:
        return TrustDomains(self.identity.trust_domain, self.aliases)


class IdentityStore:
    """The identity kept in `directory`, for one agent at a time. All methods but `paths` read or write files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._generations = directory / "identity"
        self._current = self._generations / "current"
        self._pending = directory / "pending.key"

    def paths(self) -> IdentityFiles:
        return IdentityFiles(
            key=self._current / "key.pem",
            chain=self._current / "chain.pem",
            roots=self._current / "roots.pem",
            watched=self._generations,
        )

    def load(self) -> StoredIdentity | None:
        """What is stored, expired or not; None if nothing is. DamagedIdentity if it cannot be used."""
        paths = self.paths()
        if not self._current.is_symlink():
            return None
        try:
            stored = parse_identity(
                files.read_private(paths.key), paths.chain.read_bytes(), paths.roots.read_bytes()
            )
            aliases = self._aliases(stored.identity.trust_domain)
            stored = replace(stored, aliases=aliases, locality=self._locality())
            return replace(stored, federated=self._federated(stored.trust_domains))
        except (OSError, InsecureFile, DamagedIdentity) as error:
            raise DamagedIdentity(
                f"the identity in {self._generations} cannot be used ({error}): remove that directory and join by a new token"
            ) from error

    def save(self, identity: StoredIdentity) -> None:
        """Make `identity` the current one, in one step. OSError leaves the one before."""
        files.own_directory(self._directory)
        files.private_directory(self._generations)
        number = max(self._numbers(), default=0) + 1
        generation = files.private_directory(self._generations / str(number))
        files.write_atomically(generation / "key.pem", identity.key_pem)
        files.write_atomically(generation / "chain.pem", identity.chain_pem)
        files.write_atomically(generation / "roots.pem", identity.roots_pem)
        if identity.federated:
            listed = {each.trust_domain: each.pem.decode() for each in identity.federated}
            files.write_atomically(generation / FEDERATED, json.dumps(listed).encode())
        if identity.aliases:
            files.write_atomically(generation / ALIASES, json.dumps(identity.aliases).encode())
        if identity.locality != Locality():
            files.write_atomically(generation / LOCALITY, json.dumps(asdict(identity.locality)).encode())
        files.sync_directory(self._generations)
        link = self._generations / ".next"
        link.unlink(missing_ok=True)
        link.symlink_to(str(number))
        link.replace(self._current)
        files.sync_directory(self._generations)
        for old in self._numbers():
            if old <= number - KEEP:
                shutil.rmtree(self._generations / str(old))
        self._pending.unlink(missing_ok=True)

    def pending_key(self, kind: KeyType = KeyType.ECDSA_P256) -> PrivateKey:
        """The key to join with: the same until `save`, also over restarts.

        A control plane counts a repeated join with the same key as the same use of the token, so an answer that was
        lost on its way costs nothing.
        """
        files.own_directory(self._directory)
        try:
            key = serialization.load_pem_private_key(files.read_private(self._pending), None)
        except (OSError, InsecureFile, ValueError, TypeError, UnsupportedAlgorithm):
            pass  # none yet, or one that cannot be used: nothing depends on it before the join
        else:
            usable = private(key)
            if usable is not None and kind_of(usable) is kind:
                return usable
        made = new_key(kind)
        files.write_atomically(self._pending, key_pem(made))
        return made

    def _aliases(self, own: str) -> tuple[str, ...]:
        """OSError, DamagedIdentity."""
        try:
            return others(json.loads((self._current / ALIASES).read_bytes()), own)
        except FileNotFoundError:
            return ()
        except (ValueError, RecursionError, TypeError) as error:
            raise DamagedIdentity(f"{ALIASES} cannot be read") from error

    def _locality(self) -> Locality:
        """OSError, DamagedIdentity."""
        try:
            said = json.loads((self._current / LOCALITY).read_bytes())
        except FileNotFoundError:
            return Locality()
        except (ValueError, RecursionError):
            said = None
        names = {each.name for each in fields(Locality)}
        if (
            not isinstance(said, dict)
            or not said.keys() <= names
            or not all(isinstance(each, str) for each in said.values())
        ):
            raise DamagedIdentity(f"{LOCALITY} cannot be read")
        return Locality(**said)

    def _federated(self, own: TrustDomains) -> Federated:
        """OSError, DamagedIdentity."""
        try:
            listed = json.loads((self._current / FEDERATED).read_bytes())
        except FileNotFoundError:
            return ()
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, dict) or not all(isinstance(each, str) for each in listed.values()):
            raise DamagedIdentity(f"{FEDERATED} cannot be read")
        try:
            return in_order((parse_file(pem.encode(), name) for name, pem in listed.items()), *own.all)
        except (UnusableBundle, ValueError) as error:
            raise DamagedIdentity(f"{FEDERATED}: {error}") from error

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self._generations.iterdir() if path.name.isdecimal())


def others(trust_domains: Iterable[str], own: str) -> tuple[str, ...]:
    """Those of `trust_domains` besides `own`, each once. ValueError for what is none."""
    found = tuple(dict.fromkeys(each for each in trust_domains if each != own))
    for each in found:
        if not TRUST_DOMAIN.fullmatch(each):
            raise ValueError(f"{each!r} is no trust domain")
    return found


def parse_identity(
    pem: bytes,
    chain_pem: bytes,
    roots_pem: bytes,
    federated: Federated = (),
    trust_domains: Iterable[str] = (),
) -> StoredIdentity:
    """`trust_domains`: all in which the mesh names its workloads. The identity that a key (PKCS #8 PEM), a chain and a bundle make; DamagedIdentity if they do not make one."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DamagedIdentity("the private key cannot be read") from None  # the cause might quote it
    try:
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
        if not x509.load_pem_x509_certificates(roots_pem):
            raise DamagedIdentity("the trust bundle holds no certificate")
        holder = proved(chain_pem)
        aliases = others(trust_domains, holder.identity.trust_domain)
    except (ValueError, IndexError, UnusablePeer) as error:
        raise DamagedIdentity(f"the certificates cannot be read: {error}") from error
    if key.public_key() != leaf.public_key():
        raise DamagedIdentity("the certificate is not for the private key")
    return StoredIdentity(
        identity=holder.identity,
        workload=holder.workload,
        issued=leaf.not_valid_before_utc + CLOCK_SKEW,
        not_after=holder.not_after,
        chain_pem=chain_pem,
        roots_pem=roots_pem,
        key_pem=pem,
        federated=federated,
        aliases=aliases,
    )
