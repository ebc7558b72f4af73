"""Fixtures of the tests in a real ComfyUI. The host's own Python runs what is in inside/, by test_inside*.py."""

from __future__ import annotations

import pytest

from ..helpers.hosts import ALL_HOSTS, find_hosts, is_newest, newest
from ..helpers.inside import has_pytest, run_inside
from ..helpers.serving import GraphMaker

collect_ignore = ["inside"]


@pytest.fixture(scope="module", params=(find_hosts() if ALL_HOSTS else newest()) or [None],
                ids=lambda host: host.name if host else "no host")
def server(request, servers):
    """The newest host's server, or with ALL_HOSTS=1 that of each; files share it, so each has names of its own."""
    return servers.shared(request.param)


@pytest.fixture
def once(server):
    """For what a file that runs on every host tries on the newest alone, or with ALL_HOSTS=1 on all."""
    if not ALL_HOSTS and not is_newest(server.host):
        pytest.skip("tried on the newest host")


@pytest.fixture(scope="module")
def info(server):
    return server.get("/object_info")


@pytest.fixture
def tab(server):
    """A browser tab that is open for one test."""
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def graph(info):
    """A maker of graphs that train on the sandbox: `graph(name, steps=…)`, widgets of TrainLora by name."""
    return GraphMaker(info)


@pytest.fixture(params=(find_hosts() if ALL_HOSTS else newest()) or [None],
                ids=lambda host: host.name if host else "no host")
def inside(request, record_property, capsys):
    """A runner of files in inside/, which tells how many tests there were and fails with their output."""
    host = request.param
    if not has_pytest(host):
        pytest.skip(f"{host.name}'s Python has no pytest to run tests/comfyui/inside with: pip install pytest there")

    def run(files):
        done = run_inside(host, files)
        lines = done.stdout.strip().splitlines()
        summary = lines[-1] if lines else "no output"
        record_property("summary", summary)
        with capsys.disabled():
            print(f" [{host.name}: {summary}]", end="")
        assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]

    return run
