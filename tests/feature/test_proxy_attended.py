"""A proxy that is looked after: asked whether it is ready, and to leave the mesh before its application ends. With a real Envoy."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import aiohttp

from tests.feature.test_proxy import Agent, a_token, options_for
from tests.support.ca_ads import EmptyAds
from tests.support.ca_builders import a_join_server
from tests.support.ports import free_port


async def leave(directory: Path) -> tuple[int | None, str]:
    """The exit code of `meshwright leave`, and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "meshwright", "leave", "--data-dir", str(directory)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_it_is_ready_with_its_envoy_and_leaves_before_it_ends(tmp_path: Path) -> None:
    ads = EmptyAds()
    async with a_join_server(tmp_path / "control-plane", also=ads.add_to) as server:
        options = await options_for(server, tmp_path / "agent", a_token(server))
        options = replace(options, agent_port=free_port())
        agent = Agent(options)
        async with agent.running() as task, aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{options.agent_port}/healthz/ready") as answer:
                assert answer.status == 200
            code, said = await leave(options.directory)
            assert (code, said) == (0, "")
            # This server knows nothing of leaving, as a control plane of before; the proxy has tried, and stays until it is stopped.
            assert "warning: callers are not told that this proxy ends" in agent.log.events()
            assert not task.done()
            assert await agent.admin().ready()
        assert agent.log.events()[-2:] == ["info: envoy drains", "info: envoy stopped"]
        code, said = await leave(options.directory)
        assert code == 1
        assert "is it running, with this --data-dir?" in said
