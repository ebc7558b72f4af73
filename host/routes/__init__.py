"""The routes that the browser calls: each file describes its routes at its head, and the view beside it answers."""
