"""The host's progress bar, which only takes down what it was told."""

bars = []


class ProgressBar:
    def __init__(self, total, node_id=None):
        self.total, self.node_id, self.updates = total, node_id, []
        bars.append(self)

    def update_absolute(self, value, total=None, preview=None):
        self.updates.append((value, total or self.total, preview))
