"""The kind Secret: files with a certificate and its key, for listeners of gateways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Envelope, Part, Problem, wrong
from mesh.secrets import SecretFiles


def _path(text: str) -> str:
    # The text itself is not shown: it may be a key that was pasted here.
    if "-----BEGIN" in text or "\n" in text:
        raise wrong("this is no path", "Put the PEM text into a file, and its path here")
    if not text or "\0" in text or len(text) > 4096:
        raise wrong("this is no path", "Use the path of a PEM file")
    return text


FilePath = Annotated[str, AfterValidator(_path)]
_RELATIVE = "absolute, or relative to the directory of the documents"


class SecretSpec(Part):
    certificate_file: FilePath | None = Field(
        None,
        description=f"PEM, the leaf first and then its intermediates; {_RELATIVE}. Files are watched: what is renewed in "
        "place is served at once, and what cannot be used leaves in force what was there before.",
    )
    key_file: FilePath | None = Field(
        None,
        description="The key of the certificate: PEM without a passphrase, RSA of 2048 bits or more, or ECDSA. "
        "Nobody but its owner may write it, and nobody but its owner and group may read it.",
    )
    authorities_file: FilePath | None = Field(
        None,
        description="PEM: certificates of the authorities that those of clients, or of backends, must be from. Where a reference "
        "names a ConfigMap, the Secret of that name stands for it.",
    )


class SecretDocument(Envelope):
    """A certificate and its key, which listeners of gateways show to clients. The document names files and holds no secret."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Secret"]
    spec: SecretSpec

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        if spec.certificate_file is None and spec.key_file is None and spec.authorities_file is None:
            yield Problem(
                ("spec",), "no file is named", "Add certificateFile and keyFile, or authoritiesFile"
            )
        elif spec.certificate_file is None and spec.key_file is not None:
            yield Problem(
                ("spec", "certificateFile"), "certificateFile is missing", "A key needs its certificate"
            )
        elif spec.certificate_file is not None and spec.key_file is None:
            yield Problem(("spec", "keyFile"), "keyFile is missing", "A certificate needs its key")

    def value(self, origin: tuple[str, ...]) -> SecretFiles:
        spec = self.spec
        return SecretFiles(
            self.metadata.key, spec.certificate_file, spec.key_file, spec.authorities_file, origin
        )


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Secret
metadata: {name: example-com}
spec:
  certificateFile: secrets/example.com.pem
  keyFile: secrets/example.com.key
"""
