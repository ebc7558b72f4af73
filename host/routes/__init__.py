"""The routes that the browser calls over HTTP: each file describes its routes at its head, the view beside it answers."""
