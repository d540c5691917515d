"""Manifests as text."""

from __future__ import annotations

from typing import Any

import yaml

from meshwright.kubernetes.crds import crds
from meshwright.kubernetes.install.objects import Object, objects
from meshwright.kubernetes.install.options import InstallOptions


def installed(options: InstallOptions) -> list[Object]:
    """What an installation is made of."""
    return objects(options, crds())


def uninstalled(options: InstallOptions, *, crds: bool) -> list[Object]:
    """The same, in the order in which it is to be taken away: what asks the control plane first, so that nothing waits for an answer of
    one that is gone; what it runs on last. `crds`: custom resource definitions, and with them all documents of ours, as well.
    """
    made = installed(options)
    asks = [each for each in made if each["kind"].endswith("WebhookConfiguration")]
    kept = [each for each in made if each["kind"] == "CustomResourceDefinition"]
    rest = [each for each in reversed(made) if each not in asks and each not in kept]
    return [*map(_name, (*asks, *rest, *(kept if crds else ())))]


def _name(of: Object) -> Object:
    """Enough of an object to delete it by."""
    metadata = of["metadata"]
    return {
        "apiVersion": of["apiVersion"],
        "kind": of["kind"],
        "metadata": {key: metadata[key] for key in ("name", "namespace") if key in metadata},
    }


class _Dumper(yaml.SafeDumper):
    """No aliases, which manifests' readers need not know, and text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dumped(value: Any) -> str:
    """One YAML document."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120)


def printed(objects: list[Object]) -> str:
    """A stream of YAML documents."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=120)
