class ExecutionBlocker:
    def __init__(self, message):
        self.message = message


class GraphBuilder:
    """Builds the graph that a node expands into."""

    def __init__(self, prefix="x."):
        self.prefix, self.nodes = prefix, {}

    def node(self, class_type, id=None, **inputs):
        made = Node(self.prefix + id, class_type, inputs)
        self.nodes[made.id] = made
        return made

    def finalize(self):
        return {id: made.serialize() for id, made in self.nodes.items()}


class Node:
    def __init__(self, id, class_type, inputs):
        self.id, self.class_type, self.inputs, self.shown_as = id, class_type, inputs, None

    def out(self, index):
        return [self.id, index]

    def set_override_display_id(self, id):
        self.shown_as = id

    def serialize(self):
        shown = {} if self.shown_as is None else {"override_display_id": self.shown_as}
        return {"class_type": self.class_type, "inputs": self.inputs, **shown}
