"""The parameters that paths may have, with their types; one list, so that a name means one thing everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from api.errors import BadRequest
from api.reading import field_problems

DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"


def _number(text: object) -> object:
    """Not all that Python takes for a number."""
    return int(text) if isinstance(text, str) and re.fullmatch(r"0|[1-9][0-9]{0,18}", text) else text


PATH: Final[Mapping[str, TypeAdapter[Any]]] = {
    "kind": TypeAdapter(Annotated[str, Field(pattern=r"^[A-Za-z]{1,63}$", description="As `HTTPRoute`.")]),
    "namespace": TypeAdapter(Annotated[str, Field(pattern=DNS_LABEL)]),
    "name": TypeAdapter(Annotated[str, Field(pattern=DNS_LABEL)]),
    "number": TypeAdapter(
        Annotated[int, Field(ge=0, le=2**53 - 1, description="Of a revision."), BeforeValidator(_number)]
    ),
    "service": TypeAdapter(Annotated[str, Field(pattern=DNS_LABEL)]),
    "token": TypeAdapter(Annotated[str, Field(pattern=r"^[a-z2-7]{16}$", description="The id of a token.")]),
    "rollout": TypeAdapter(Annotated[str, Field(pattern=r"^[0-9a-f]{8}$", description="Its id.")]),
    "workload": TypeAdapter(
        Annotated[
            str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$", description="A workload's name.")
        ]
    ),
}


def path_parameters(given: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a path, as their types. BadRequest."""
    found = {}
    for name, text in given.items():
        try:
            found[name] = PATH[name].validate_python(text)
        except ValidationError as error:
            raise BadRequest(
                f"{name} in the path is not one", errors=field_problems(error, under=(name,))
            ) from error
    return found
