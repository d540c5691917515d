"""What the authority's keys are encrypted with: from a file, the environment or a command."""

from __future__ import annotations

import os
import subprocess
from typing import Final

from ca import files
from ca.errors import InsecureFile
from envoy.environment import without_own
from meshwright.errors import SettingsError
from meshwright.settings import Settings

SHORTEST: Final = 16
"""Bytes. PBKDF2 slows guessing down; it does not make a word a key."""
PATIENCE: Final = 30.0


def passphrase(settings: Settings) -> bytes | None:
    """None if keys are not to be encrypted. Blocks for the command. SettingsError, which never quotes what was read."""
    if settings.ca_passphrase is not None:
        name, found = "ca_passphrase", settings.ca_passphrase.get_secret_value().encode()
    elif settings.ca_passphrase_file is not None:
        name = "ca_passphrase_file"
        try:
            found = files.read_private(settings.ca_passphrase_file)
        except (OSError, InsecureFile) as error:
            raise SettingsError(f"setting {name}: {error}") from error
    elif settings.ca_passphrase_command:
        name, found = "ca_passphrase_command", _said(settings.ca_passphrase_command)
    else:
        return None
    found = found.strip()
    if len(found) < SHORTEST:
        raise SettingsError(
            f"setting {name}: the passphrase has {len(found)} bytes: {SHORTEST} and more are wanted, for example of "
            "`openssl rand -base64 32`"
        )
    return found


def _said(command: tuple[str, ...]) -> bytes:
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env=without_own(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError(
            f"setting ca_passphrase_command: {command[0]} cannot be run: {type(error).__name__}"
        ) from None
    if ran.returncode:
        # What it says of its trouble goes to standard error; its output may be half of a secret.
        reason = ran.stderr.decode(errors="replace").strip()[-300:]
        raise SettingsError(
            f"setting ca_passphrase_command: {command[0]} ended with {ran.returncode}: {reason}"
        )
    return ran.stdout
