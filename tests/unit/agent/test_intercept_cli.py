"""What `meshwright intercept` makes of its options; what it does is in tests/feature/test_intercept.py."""

from __future__ import annotations

import os
import pwd

import pytest
from typer.testing import CliRunner

from meshwright.cli import app


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Give --proxy-user"),
        (("--proxy-user", "nobody-of-that-name"), "there is no user 'nobody-of-that-name' on this host"),
        (("--proxy-user", "1", "--exclude-group", "no-such"), "there is no group 'no-such' on this host"),
        (
            ("--proxy-user", "1", "--exclude-outbound-cidr", "10.0.0.1/8"),
            "'10.0.0.1/8' is not an address or network",
        ),
        (("--proxy-user", "1", "--dns", "--dns-server", "ns.example"), "'ns.example' is not the IP address"),
        (("--proxy-user", "1", "--dns-server", "10.0.0.1"), "add --dns"),
        (("--proxy-user", "1", "--no-outbound", "--no-inbound"), "nothing is to be intercepted"),
        (("--proxy-user", "1", "--outbound-port", "15006"), "the sidecar's ports must differ"),
    ],
)
def test_options_that_cannot_be(options: tuple[str, ...], message: str) -> None:
    ran = CliRunner().invoke(app, ["intercept", "--dry-run", *options], env={"MESHWRIGHT_PROXY_USER": None})
    assert ran.exit_code == 2
    assert ran.stderr.startswith("meshwright: ")
    assert message in ran.stderr


def test_the_user_may_be_a_name_and_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a host of which nothing is known: this machine's own rules do not matter here.
    monkeypatch.setattr("agent.intercept.apply.privileged", lambda: False)
    me = pwd.getpwuid(os.geteuid()).pw_name
    ran = CliRunner().invoke(app, ["intercept", "--dry-run"], env={"MESHWRIGHT_PROXY_USER": me})
    assert ran.exit_code == 0
    assert f"--uid-owner {os.geteuid()} -j RETURN" in ran.stdout
