"""The routes that the browser calls over HTTP. Each file describes its routes at its head; the view beside it makes the
answers."""
