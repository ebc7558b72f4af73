"""The options that the host was started with."""

from types import SimpleNamespace

args = SimpleNamespace(enable_cors_header=None)
