"""The ComfyUI side: one file per user task. A node class translates between sockets and the library, which works."""
