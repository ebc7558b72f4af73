"""What the browser asks over HTTP: each file states its routes at its head, each view beside it what they answer."""
