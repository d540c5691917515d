"""An installation's settings, judged by the model that `meshwright serve` reads them with: before the cluster has them, not at the next start of a pod."""

from __future__ import annotations

from meshwright.errors import SettingsError
from meshwright.kubernetes.install.objects import settings
from meshwright.kubernetes.install.options import InstallOptions
from meshwright.settings import check


def checked(options: InstallOptions) -> InstallOptions:
    """SettingsError, with a line for each setting that is wrong and what would be right."""
    try:
        check(settings(options))
    except SettingsError as error:
        raise SettingsError("\n".join(f"--set: {line}" for line in str(error).splitlines())) from error
    return options
