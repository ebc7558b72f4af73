"""What is in inside/ is run by the host's own Python, through test_inside.py. Each other file has its own servers."""

from .serving import HOSTS, graph, info, once, server, tab  # noqa: F401 (fixtures)

collect_ignore = ["inside"]
collect_ignore_glob = [] if HOSTS else ["test_server*"]
"""Without a host one line says so, that of test_inside.py."""
