"""What decides a link's value: every node above it, its widgets, what it says about itself, and the files it names."""

import pytest

from lora_bootstrap.host.drawing.recipe import recipe_of

from ...helpers.drawing_graph import drawing_graph


class Facts:
    """What nodes say about themselves, by id, and the contents of files, by name."""

    def __init__(self, states=None, files=None):
        self.states, self.contents = states or {}, files or {}

    def state(self, id, node):
        return self.states.get(id, (None, True))

    def lazy(self, kind, name):
        return kind == "Switch" and name.startswith("on_")

    def files(self, value):
        return [self.contents[value]] if value in self.contents else []


def of(nodes, facts=None, **more):
    return recipe_of(nodes.__getitem__, ["decode", 0], facts or Facts(), **more)


@pytest.mark.parametrize(("node", "name", "value"), [
    ("sample", "steps", 20), ("latent", "width", 256), ("negative", "text", "blurry"), ("base", "ckpt_name", "b"),
    ("lora", "strength", 0.7), ("views", "round", 2), ("sample", "cfg", True), ("latent", "batch_size", 1.0)])
def test_every_widget_above_counts_our_own_nodes_too(node, name, value):
    nodes = drawing_graph()
    nodes[node]["inputs"][name] = value
    assert of(nodes).digest != of(drawing_graph()).digest


@pytest.mark.parametrize(("node", "name", "link"), [
    ("sample", "negative", ["encode", 0]), ("decode", "vae", ["base", 1]), ("sample", "model", ["base", 0])])
def test_every_link_above_counts(node, name, link):
    nodes = drawing_graph()
    nodes[node]["inputs"][name] = link
    assert of(nodes).digest != of(drawing_graph()).digest


def test_a_node_of_another_class_counts():
    nodes = drawing_graph()
    nodes["latent"]["class_type"] = "EmptySD3LatentImage"
    assert of(nodes).digest != of(drawing_graph()).digest


def test_ids_do_not_count_as_in_a_subgraph_or_a_pasted_copy():
    nodes = drawing_graph()
    for old, new in (("negative", "12:7"), ("base", "3")):
        nodes[new] = nodes.pop(old)
        for node in nodes.values():
            node["inputs"] = {name: [new, value[1]] if isinstance(value, list) and value[0] == old else value
                              for name, value in node["inputs"].items()}
    assert of(nodes) == of(drawing_graph())


def test_files_count_by_their_content_not_by_their_name_alone():
    before, after = (of(drawing_graph(), Facts(files={"a.safetensors": content})) for content in ("old", "new"))
    assert before.digest != after.digest


def test_what_a_node_says_about_itself_counts():
    told = [of(drawing_graph(), Facts({"latent": (state, True)})).digest for state in ("a", "b", "a")]
    assert told[0] == told[2] != told[1]


def test_a_node_that_may_give_something_else_each_time_is_named():
    found = of(drawing_graph(), Facts({"latent": (None, False)}))
    assert found.unsure == ("EmptyLatentImage",) and of(drawing_graph()).unsure == ()


def test_where_content_is_known_our_own_nodes_count_by_the_models_that_pass_through_them():
    def changed(node, name, value, **more):
        nodes = drawing_graph()
        nodes["lora"]["inputs"]["run"] = ["views", 0]
        before = of(nodes, whole=False, **more)
        nodes[node]["inputs"][name] = value
        return of(nodes, whole=False, **more) != before

    assert not changed("lora", "strength", 0.7) and changed("base", "ckpt_name", "b")


def test_a_link_that_is_cut_counts_as_what_it_is_said_to_be():
    one, two = (of(drawing_graph(), cut={("lora", 0): text}) for text in ("one", "two"))
    nodes = drawing_graph()
    nodes["lora"]["inputs"]["strength"] = 0.1
    assert one != two and of(nodes, cut={("lora", 0): "one"}) == one


def test_a_circle_and_a_chain_of_thousands_end():
    nodes = drawing_graph()
    nodes["latent"]["inputs"]["width"] = ["latent", 0]
    assert of(nodes).digest
    before = ["base", *map(str, range(4999))]
    nodes |= {str(number): {"class_type": "LoraLoader", "inputs": {"model": [before[number], 0]}}
              for number in range(5000)}
    nodes["sample"]["inputs"]["model"] = ["4999", 0]
    whole = of(nodes)
    nodes["0"]["inputs"]["strength_model"] = 0.5
    assert of(nodes) != whole
