"""What needs the host runs against a stand-in for it."""

from ..helpers.host_stub import adapter, host, sandbox  # noqa: F401 (fixtures)
