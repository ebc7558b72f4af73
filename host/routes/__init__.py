"""What the browser asks over HTTP: each file describes its routes at its head; the view beside it makes the answers."""
