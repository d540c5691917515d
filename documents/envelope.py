"""What all documents have in common: `apiVersion`, `kind`, `metadata`, `spec`, as Kubernetes resources have.

Field names are camelCase in documents and snake_case in Python. Values are taken strictly: a number where text is
wanted is an error, not a guess.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from documents.reading import Path, show
from mesh.errors import MeshError
from mesh.names import DEFAULT_NAMESPACE, DNS_LABEL, Key, check_label

API_VERSION = "meshwright.dev/v1alpha1"


class Named(Protocol):
    """A frozen value of the domain, as a document declares it."""

    @property
    def key(self) -> Key: ...
    @property
    def origin(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at `path` of one document that its schema cannot say.

    `told`: the status of an object in a cluster tells it, and it is no reason to refuse what the API server took (see `lenient` of
    `documents.parsing.parse_kept`). In a file, which nobody else reads, it is a mistake like any other.
    """

    path: Path
    reason: str
    remedy: str
    told: bool = False


def wrong(reason: str, remedy: str) -> PydanticCustomError:
    """What a validator of a field raises: carries the remedy beside the reason."""
    return PydanticCustomError("document", "{reason}", {"reason": reason, "remedy": remedy})


def _label(what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            return check_label(what, text)
        except MeshError as error:
            reason, _, remedy = str(error).partition(": ")
            raise wrong(reason, remedy[:1].upper() + remedy[1:]) from error

    return check


def _port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise wrong(f"{number} is not a port", "Use a number from 1 to 65535")
    return number


def _dns_label(what: str) -> AfterValidator:
    return AfterValidator(_label(what))


_LABEL_SCHEMA = {"type": "string", "pattern": f"^{DNS_LABEL.pattern}$", "maxLength": 63}

Name = Annotated[str, _dns_label("name"), WithJsonSchema(_LABEL_SCHEMA)]
Namespace = Annotated[str, _dns_label("namespace"), WithJsonSchema(_LABEL_SCHEMA)]
PortName = Annotated[str, _dns_label("port name"), WithJsonSchema(_LABEL_SCHEMA)]
ServiceName = Annotated[str, _dns_label("service"), WithJsonSchema(_LABEL_SCHEMA)]
Port = Annotated[
    int, AfterValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})
]


class Part(BaseModel):
    """A part of a document: unknown fields are errors, and nothing is converted."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class Metadata(Part):
    """Names a document. The fields that the Kubernetes API server adds are accepted and not used."""

    name: Name = Field(description="Unique for its kind in its namespace; a DNS label.")
    namespace: Namespace = Field(DEFAULT_NAMESPACE, description="A DNS label, not `mesh`.")
    labels: dict[str, str] = Field({}, description="What subsets and selectors go by.")
    annotations: dict[str, str] = Field({}, description="Notes of people and tools. No effect on the mesh.")
    creation_timestamp: AwareDatetime | None = Field(
        None, strict=False, description="RFC 3339. Of two policies that tie, the older wins."
    )
    uid: JsonValue = None
    resource_version: JsonValue = None
    generation: JsonValue = None
    managed_fields: JsonValue = None
    finalizers: JsonValue = None
    owner_references: JsonValue = None

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)


class Envelope(Part):
    """The base of the model of each kind, which adds `spec`."""

    api_version: str
    kind: str
    metadata: Metadata
    status: JsonValue = Field(None, description="Written by controllers. Not read.")

    def problems(self) -> Iterator[Problem]:
        """What is wrong with this document although each field by itself is right."""
        return iter(())

    @abstractmethod
    def value(self, origin: tuple[str, ...]) -> Named:
        """The value of the domain that this document declares. Call it only if there are no problems."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One entry of the registry of kinds. `also`: what can be wrong with a document of it that its model does not know."""

    api_version: str
    name: str
    model: type[Envelope]
    also: Callable[[Envelope], Iterable[Problem]] | None = None

    def problems(self, document: Envelope) -> Iterator[Problem]:
        """What is wrong with `document`, of this kind, although each field by itself is right."""
        yield from document.problems()
        if self.also is not None:
            yield from self.also(document)

    def __str__(self) -> str:
        return f"{self.name} ({self.api_version})"


def repeated(path: Path, field: str, values: Iterable[object], what: str) -> Iterator[Problem]:
    """A problem for each of `values` (None aside) that an earlier element of the list at `path` has already."""
    seen: dict[object, int] = {}
    for place, value in enumerate(values):
        if value is None:
            continue
        first = seen.setdefault(value, place)
        if first != place:
            where: Path = (*path, place, field) if field else (*path, place)
            yield Problem(
                where,
                f"{what} {value} is already that of {show(path[1:])}[{first}]",
                f"Give each its own {what}",
            )
