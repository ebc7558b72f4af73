"""Where panels are tried: in Vue nodes of the newest host, or with ALL_HOSTS=1 in both renderers of every host."""

from __future__ import annotations

import pytest

from ..comfyui.hosts import ALL_HOSTS, find_hosts, newest
from ..comfyui.server import Server
from .browser import settings


@pytest.fixture(scope="module", params=find_hosts() if ALL_HOSTS else newest(), ids=lambda host: host.name)
def server(request, tmp_path_factory):
    host = request.param
    with Server(host.path, host.python, tmp_path_factory.mktemp(f"comfyui-{host.version}")) as running:
        yield running


@pytest.fixture(scope="module", params=[True, False] if ALL_HOSTS else [True],
                ids=lambda vue_nodes: "Vue nodes" if vue_nodes else "classic canvas")
def vue_nodes(request, server):
    server.post("/settings", settings(vue_nodes=request.param))
    return request.param
