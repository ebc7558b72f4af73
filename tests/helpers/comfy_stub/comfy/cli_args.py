"""The host's command line; a test sets what it needs."""

from types import SimpleNamespace

args = SimpleNamespace(disable_metadata=False, enable_cors_header=None, max_upload_size=1.0)
