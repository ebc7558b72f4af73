"""The routes that the browser calls over HTTP: each file describes its own at its head, `views/` answers."""
