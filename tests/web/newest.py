"""The server of tests that take minutes in a browser: on the newest host alone, or on all with ALL_HOSTS=1."""

from __future__ import annotations

import os

import pytest

from ..host.hosts import Host, find_hosts
from ..host.server import Server

ALL_HOSTS = os.environ.get("ALL_HOSTS") == "1"
"""Whether to try in every host and renderer what is tried once otherwise."""


def newest() -> list[Host]:
    """The newest host, if there is any."""
    return sorted(find_hosts(), key=lambda host: [int(part) for part in host.version.split(".")])[-1:]


@pytest.fixture(scope="module", params=find_hosts() if ALL_HOSTS else newest(),
                ids=lambda host: host.name)
def server(request, tmp_path_factory):
    host = request.param
    with Server(host.path, host.python, tmp_path_factory.mktemp(f"comfyui-{host.version}")) as running:
        yield running
