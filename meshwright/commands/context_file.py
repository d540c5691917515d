"""The shape of the file of named contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Context(_Part):
    """One control plane: `server` over HTTPS, or `data_dir` on this machine."""

    server: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    data_dir: Path | None = None
    namespace: str = "default"

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.server is None) == (self.data_dir is None):
            raise ValueError("a context has either server or dataDir")
        return self


class ContextFile(_Part):
    current: str | None = None
    contexts: dict[str, Context] = {}
