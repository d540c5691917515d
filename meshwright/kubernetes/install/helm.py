"""The Helm chart, made of the same objects: where an option stands, the template asks for the chart's value of its name.

Each option is given a value that occurs nowhere else, and the text of the objects then has the template's expression in its place.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any, Final, get_type_hints

from meshwright.kubernetes.install.objects import (
    SETTINGS_FILE,
    Object,
    cluster_role,
    digest,
    objects,
    settings,
)
from meshwright.kubernetes.install.options import NAME, InstallOptions, camel
from meshwright.kubernetes.install.printed import dumped, printed

OWN: Final = frozenset({"namespace", "gateway_class", "settings"})
"""Options that a chart has in its own way."""
SETTINGS: Final = f"{NAME}.settings"
MERGED: Final = f'mergeOverwrite (include "{SETTINGS}" . | fromYaml) .Values.settings'
NOTES: Final = """\
Meshwright {{ .Chart.AppVersion }} is being started in {{ .Release.Namespace }}.

    kubectl -n {{ .Release.Namespace }} rollout status deployment/meshwright
    kubectl label namespace NAME meshwright.dev/inject=enabled

Pods that are made there from then on have a sidecar.
"""


def chart(version: str, crds: list[Object]) -> dict[str, str]:
    """The files of the chart, by their paths in it; but `crds/`, which is the same for all forms."""
    made = [
        each
        for each in objects(_marked(), crds)
        if each["kind"] not in {"Namespace", "CustomResourceDefinition", "ClusterRole"}
    ]
    files = {
        "Chart.yaml": dumped(
            {
                "apiVersion": "v2",
                "name": NAME,
                "description": "Meshwright, a service mesh control plane",
                "type": "application",
                "version": version,
                "appVersion": version,
                "kubeVersion": ">=1.29.0-0",
            }
        ),
        "values.yaml": dumped(values(InstallOptions())),
        "templates/_settings.tpl": f'{{{{- define "{SETTINGS}" -}}}}\n{_templated(dumped(settings(_marked())))}{{{{- end }}}}\n',
        "templates/NOTES.txt": NOTES,
    }
    files["templates/clusterrole.yaml"] = _cluster_role(
        tuple(sorted(each["spec"]["names"]["plural"] for each in crds))
    )
    for each in made:
        files[f"templates/{each['kind'].lower()}.yaml"] = _template(each)
    return files


def values(options: InstallOptions) -> dict[str, Any]:
    """`options` as a chart's values."""
    return {camel(name): value for name, value in asdict(options).items() if name != "namespace"}


def _cluster_role(our_kinds: tuple[str, ...]) -> str:
    """What depends on a value stands at the end: each longer text begins with the shorter one."""
    without = replace(_marked(), gateway_class=False, settings={"kubernetes": {"history": 0}})
    each = [
        printed([cluster_role(options, our_kinds)])
        for options in (without, replace(without, gateway_class=True), _marked())
    ]
    gateways, history = each[1].removeprefix(each[0]), each[2].removeprefix(each[1])
    return (
        f"{_templated(each[0])}{{{{- if .Values.gatewayClass }}}}\n{gateways}{{{{- end }}}}\n"
        f'{{{{- if ne (dig "kubernetes" "history" 10 .Values.settings | int) 0 }}}}\n{history}{{{{- end }}}}\n'
    )


def _template(of: Object) -> str:
    match of["kind"]:
        case "GatewayClass":
            return f"{{{{- if .Values.gatewayClass }}}}\n{_templated(printed([of]))}{{{{- end }}}}\n"
        case "ConfigMap":
            merged = f"{MERGED} | toYaml | nindent 4"
            return _templated(printed([of | {"data": {}}])).replace(
                "data: {}\n", f"data:\n  {SETTINGS_FILE}: |\n    {{{{- {merged} }}}}\n"
            )
        case "Deployment":
            made = digest(settings(_marked()))
            return _templated(printed([of])).replace(made, f"{{{{ {MERGED} | toJson | sha256sum | quote }}}}")
        case _:
            return _templated(printed([of]))


def _marked() -> InstallOptions:
    """Options of which each value is found again in a text."""
    types = get_type_hints(InstallOptions)
    marks: dict[str, Any] = {
        each.name: _number(at) if types[each.name] is int else f"mark-{at}-of-an-option"
        for at, each in enumerate(fields(InstallOptions))
        if each.name not in OWN - {"namespace"}
    }
    return replace(InstallOptions(), **marks)


def _number(at: int) -> int:
    return 987_654_000 + at


def _templated(text: str) -> str:
    for name, mark in asdict(_marked()).items():
        if name in OWN - {"namespace"}:
            continue
        value = ".Release.Namespace" if name == "namespace" else f".Values.{camel(name)}"
        text = text.replace(str(mark), f"{{{{ {value} }}}}")
    return text
