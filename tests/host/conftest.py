"""What is in inside/ is run by the host's own Python, through test_inside.py. The server tests share their servers."""

from .serving import HOSTS, graph, info, server, tab  # noqa: F401 (fixtures)

collect_ignore = ["inside"]
collect_ignore_glob = [] if HOSTS else ["test_server*"]
"""Without a host one line says so, that of test_inside.py."""
