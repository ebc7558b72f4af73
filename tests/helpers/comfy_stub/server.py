"""The host's server, which only takes down what it was given to say."""

from aiohttp import web


class PromptServer:
    instance = None
    client_id = "the tab that queued"

    def __init__(self):
        self.routes = web.RouteTableDef()
        self.sent, self.texts = [], []

    def send_sync(self, event, data, sid=None):
        self.sent.append((event, data))

    def send_progress_text(self, text, node_id, sid=None):
        self.texts.append((text, node_id))
        self.told = sid


PromptServer.instance = PromptServer()
