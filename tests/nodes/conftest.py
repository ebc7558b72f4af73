"""Nodes run against a stand-in for the host."""

from ..helpers.host_stub import adapter, host, sandbox  # noqa: F401 (fixtures)
