"""The nodes, one file per user task: each translates between sockets and the library, which does the work."""
