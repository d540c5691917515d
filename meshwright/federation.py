"""Foreign trust domains whose callers are let in: their trust bundles, followed where these are kept.

The file that the setting `federation` names lists them. It is looked at again and again, as the bundles are. What cannot be read,
does not answer or says nonsense leaves in force what was believed before, which is also kept in the data directory.
docs/adr/0007-federation.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import structlog
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ca import files
from ca.authority import TrustBundle
from ca.bundle_source import BundleEndpoint, BundleFile
from ca.errors import UnusableBundle
from ca.federation import Federated, ends, in_order, parse_file, spiffe_document
from ca.rate_limit import Monotonic
from ca.web import NoAnswer, check_url
from mesh.identity import TRUST_DOMAIN, TrustDomains
from meshwright.errors import SettingsError

LOOK: Final = 1.0
"""Seconds between two looks at files."""
REFRESH: Final = 300.0
"""Seconds between two questions to an endpoint that gives no hint: what the specification recommends."""
SOONEST, LATEST = 1.0, 3600.0
"""Seconds, whatever an endpoint hints."""
RETRY: Final = 10.0
"""Seconds after an endpoint did not answer, or sooner where it hints so."""
MOST: Final = 100
"""Trust domains: each costs every proxy its bundle."""
MAXIMUM_BYTES: Final = 1024 * 1024
KEPT: Final = "federation"

log = structlog.get_logger(__name__)


class EndpointSpec(BaseModel):
    """A SPIFFE bundle endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(check_url)]
    profile: Literal["https_web", "https_spiffe"] = "https_web"
    spiffe_id: str | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> EndpointSpec:
        spiffe = self.profile == "https_spiffe"
        if spiffe != (self.spiffe_id is not None):
            raise ValueError("https_spiffe needs spiffe_id, the identity of the server; https_web has none")
        if spiffe and (self.ca_file is not None or not self.url.startswith("https:")):
            raise ValueError("https_spiffe needs an https URL, and no ca_file: the bundle itself vouches")
        return self

    def source(self) -> BundleEndpoint:
        return BundleEndpoint(self.url, self.spiffe_id, self.ca_file)


class TrustDomainSpec(BaseModel):
    """One foreign trust domain. With `endpoint`, `bundle_file` is what to begin with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=f"^{TRUST_DOMAIN.pattern}$")]
    bundle_file: Path | None = None
    endpoint: EndpointSpec | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> TrustDomainSpec:
        if self.bundle_file is None and self.endpoint is None:
            raise ValueError("says neither bundle_file nor endpoint")
        if self.endpoint is not None and self.endpoint.spiffe_id is not None:
            if self.bundle_file is None:
                raise ValueError("https_spiffe needs a bundle_file to begin with")
            if not self.endpoint.spiffe_id.startswith(f"spiffe://{self.name}/"):
                raise ValueError(f"spiffe_id is no identity of {self.name}")
        return self


class FederationSpec(BaseModel):
    """The file: `trust_domains`, each of them once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trust_domains: Annotated[tuple[TrustDomainSpec, ...], Field(max_length=MOST)] = ()

    @model_validator(mode="after")
    def _each_once(self) -> FederationSpec:
        names = [each.name for each in self.trust_domains]
        twice = sorted({each for each in names if names.count(each) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is there more than once")
        return self


@dataclass(slots=True)
class _Domain:
    """`due`: when its endpoint is asked next, every `interval` seconds; `heard`: when its bundle was last confirmed. By the monotonic clock."""

    spec: TrustDomainSpec
    bundle: TrustBundle | None = None
    due: float = 0.0
    interval: float = REFRESH
    heard: float | None = None
    problem: str = ""


class Federation:
    """Use it from one event loop; `path` None federates with nobody."""

    def __init__(
        self,
        path: Path | None,
        own: TrustDomains,
        data_dir: Path,
        *,
        monotonic: Monotonic,
        record: Callable[[str, dict[str, str]], None] = lambda *_: None,
    ) -> None:
        """`own` are our trust domains. `record` is told of each bundle that is taken or withdrawn, for the audit log."""
        self.path: Final = path
        self._own = own
        self._kept = data_dir / KEPT
        self._monotonic = monotonic
        self._record = record
        self._read: bytes | None = None
        self._domains: dict[str, _Domain] = {}
        self._problem = ""
        self.bundles: Federated = ()

    @property
    def on(self) -> bool:
        return self.path is not None

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """Those whose callers can be verified."""
        return tuple(each.trust_domain for each in self.bundles if each.roots)

    async def open(self) -> None:
        """Begin with what the files say, and what was kept of endpoints, which are asked by `run`. SettingsError for a wrong file."""
        if self.path is None:
            return
        try:
            await self._read_list(self.path)
        except (OSError, ValueError) as error:
            raise SettingsError(f"setting federation: {_why(self.path, error)}") from error
        await self._read_files()
        self._settle()

    async def run(self, changed: Callable[[], None]) -> None:
        """Follow the file and the bundles, and tell `changed` when `bundles` are others; until cancelled."""
        if self.path is None:
            return
        async with asyncio.TaskGroup() as asking:
            under_way: dict[str, asyncio.Task[None]] = {}
            while True:
                await self._look(self.path)
                for name, domain in self._domains.items():
                    running = under_way.get(name)
                    if domain.spec.endpoint is None or domain.due > self._monotonic():
                        continue
                    if running is None or running.done():  # one that hangs holds up no other
                        under_way[name] = asking.create_task(self._ask(domain, domain.spec.endpoint))
                if self._settle():
                    changed()
                await asyncio.sleep(LOOK)

    def status(self) -> dict[str, str]:
        """By trust domain; under the file's own name what is wrong with it."""
        said = {name: _told(each) for name, each in sorted(self._domains.items())}
        return {**said, str(self.path): self._problem} if self._problem else said

    def ages(self) -> dict[str, float]:
        """Seconds since the bundle of a trust domain was last confirmed where it is kept."""
        now = self._monotonic()
        return {name: now - each.heard for name, each in self._domains.items() if each.heard is not None}

    async def _look(self, path: Path) -> None:
        problem = ""
        try:
            await self._read_list(path)
        except (OSError, ValueError) as error:
            problem = _why(path, error)
        if problem and problem != self._problem:
            log.warning("the list of federated trust domains is not used as it is", reason=problem)
        self._problem = problem
        await self._read_files()

    async def _read_list(self, path: Path) -> None:
        """OSError, ValueError."""
        content = await asyncio.to_thread(_content, path)
        if content == self._read:
            return
        try:
            spec = FederationSpec.model_validate(yaml.safe_load(content) or {})
        except yaml.YAMLError as error:
            raise ValueError(f"is not YAML: {error}") from error
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        for each in spec.trust_domains:
            if each.name in self._own.callers:
                raise ValueError(
                    f"{each.name} is this mesh's own trust domain, or was it lately: a foreign root may not vouch for it"
                )
        self._read = content
        domains = {}
        for each in spec.trust_domains:
            known = self._domains.get(each.name)
            if known is not None and known.spec == each:
                domains[each.name] = known
            else:
                # Another place to get it from: what is believed stays until that place has answered.
                bundle = known.bundle if known is not None else await self._load_kept(each)
                domains[each.name] = _Domain(each, bundle)
        for name in self._domains.keys() - domains.keys():
            await asyncio.to_thread((self._kept / f"{name}.json").unlink, missing_ok=True)
        self._domains = domains

    async def _read_files(self) -> None:
        for domain in tuple(self._domains.values()):
            file, endpoint = domain.spec.bundle_file, domain.spec.endpoint
            if file is None or (endpoint is not None and domain.bundle is not None):
                continue
            try:
                domain.bundle = await BundleFile(file).load(domain.spec.name)
            except UnusableBundle as error:
                self._failed(domain, str(error))
            else:
                domain.problem, domain.heard = "", self._monotonic()

    async def _ask(self, domain: _Domain, endpoint: EndpointSpec) -> None:
        name = domain.spec.name
        try:
            said = await endpoint.source().load(name, domain.bundle)
        except (NoAnswer, UnusableBundle) as error:
            self._failed(domain, str(error))
            again = min(domain.interval, RETRY)
        else:
            hint = float(said.refresh_hint) if said.refresh_hint is not None else REFRESH
            again = domain.interval = min(max(hint, SOONEST), LATEST)
            moved, domain.bundle = domain.bundle != said.bundle, said.bundle
            domain.problem, domain.heard = "", self._monotonic()
            if moved and self._domains.get(name) is domain:
                await self._keep(said.bundle)
        domain.due = self._monotonic() + again

    def _failed(self, domain: _Domain, problem: str) -> None:
        if problem != domain.problem:
            log.warning(
                "the trust bundle of a federated trust domain cannot be had: what was believed stays",
                trust_domain=domain.spec.name,
                held=domain.bundle is not None,
                reason=problem,
            )
        domain.problem = problem

    def _settle(self) -> bool:
        """Whether `bundles` are others now."""
        held = (each.bundle for each in self._domains.values() if each.bundle is not None)
        bundles = in_order(held, *self._own.all)
        if bundles == self.bundles:
            return False
        before = {each.trust_domain: each for each in self.bundles}
        after = {each.trust_domain: each for each in bundles}
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                found = after.get(name)
                told = {"trust_domain": name, "roots": str(len(found.roots)) if found else "0"}
                event = "federated trust bundle taken" if found else "federated trust bundle withdrawn"
                log.info(event, **told)
                self._record(event, told)
        self.bundles = bundles
        return True

    async def _load_kept(self, spec: TrustDomainSpec) -> TrustBundle | None:
        if spec.endpoint is None:
            return None
        path = self._kept / f"{spec.name}.json"
        try:
            return parse_file(await asyncio.to_thread(path.read_bytes), spec.name)
        except FileNotFoundError:
            return None
        except (OSError, UnusableBundle) as error:
            log.warning("a kept trust bundle cannot be read", file=str(path), reason=str(error))
            return None

    async def _keep(self, bundle: TrustBundle) -> None:
        try:
            await asyncio.to_thread(self._write, bundle)
        except OSError as error:
            # It is in force all the same; a restart while the endpoint is away would begin without it.
            log.warning("a trust bundle cannot be kept", trust_domain=bundle.trust_domain, reason=str(error))

    def _write(self, bundle: TrustBundle) -> None:
        files.private_directory(self._kept)
        files.write_atomically(self._kept / f"{bundle.trust_domain}.json", spiffe_document(bundle))


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAXIMUM_BYTES + 1)
    if len(content) > MAXIMUM_BYTES:
        raise ValueError(f"has more than {MAXIMUM_BYTES} bytes")
    return content


def _why(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValidationError):
        said = error.errors(include_url=False, include_input=False)
        lines = (
            f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}" for each in said
        )
        return f"{path}: {'; '.join(lines)}"
    if isinstance(error, OSError):
        return f"{path} cannot be read: {error.strerror}"
    return f"{path}: {error}"


def _told(domain: _Domain) -> str:
    bundle, problem = domain.bundle, domain.problem
    if bundle is None:
        return f"nobody is let in: {problem or 'its bundle has not been had yet'}"
    last = ends(bundle)
    held = "no roots" if last is None else f"{len(bundle.roots)} roots until {last:%Y-%m-%d}"
    return f"{held}; {problem} (what was believed stays in force)" if problem else held
