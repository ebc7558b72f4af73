"""The part of a graph between two nodes: found, told from others by a hash, and copied for each value."""

import pytest
from comfy_execution.graph_utils import GraphBuilder

from lora_bootstrap.host.drawing.repeat import part_between
from lora_bootstrap.trainer.common.errors import UserError

from ...helpers.drawing_graph import drawing_graph


def part(nodes):
    return part_between(nodes.__getitem__, "views", ["decode", 0], "link the decoded image.")


def test_the_part_is_what_depends_on_the_source_in_the_order_of_its_links():
    found = part(drawing_graph())
    assert list(found.nodes) == ["encode", "sample", "decode"] and found.end == ("decode", 0)


def test_settings_are_found_where_the_graph_says_them_once():
    found = part(drawing_graph()).settings
    assert (found["steps"], found["cfg"], found["width"]) == (16, 3.0, 128) and "strength" not in found
    nodes = drawing_graph()
    nodes["refine"] = {"class_type": "KSampler", "inputs": {**nodes["sample"]["inputs"], "steps": 8,
                                                             "latent_image": ["sample", 0]}}
    nodes["decode"]["inputs"]["samples"] = ["refine", 0]
    assert "steps" not in part(nodes).settings and part(nodes).settings["cfg"] == 3.0


@pytest.mark.parametrize(("node", "name", "value"), [
    ("sample", "steps", 20), ("latent", "width", 256), ("negative", "text", "blurry"),
    ("base", "ckpt_name", "b.safetensors"), ("sample", "seed", 7)])
def test_whatever_decides_the_pictures_is_in_the_recipe(node, name, value):
    nodes = drawing_graph()
    nodes[node]["inputs"][name] = value
    assert part(nodes).recipe != part(drawing_graph()).recipe


def test_what_our_own_nodes_are_set_to_is_not_in_the_recipe_for_their_files_tell():
    nodes = drawing_graph()
    nodes["lora"]["inputs"]["strength"] = 0.8
    nodes["views"]["inputs"]["round"] = 2
    assert part(nodes).recipe == part(drawing_graph()).recipe


def test_other_ids_of_the_nodes_are_the_same_recipe():
    nodes = drawing_graph()
    nodes["77"] = nodes.pop("negative")
    nodes["sample"]["inputs"]["negative"] = ["77", 0]
    assert part(nodes).recipe == part(drawing_graph()).recipe


def test_a_copy_takes_values_for_the_source_and_links_what_is_around_it():
    builder = GraphBuilder()
    end = part(drawing_graph()).copy(builder, 3, {0: "a prompt", 1: ["x.view_3", 1]})
    copies = builder.finalize()
    assert end == ["x.3_decode", 0] and set(copies) == {"x.3_encode", "x.3_sample", "x.3_decode"}
    assert copies["x.3_encode"]["inputs"] == {"text": "a prompt", "clip": ["base", 1]}
    inputs = copies["x.3_sample"]["inputs"]
    assert (inputs["positive"], inputs["negative"], inputs["seed"]) == (["x.3_encode", 0], ["negative", 0],
                                                                       ["x.view_3", 1])
    assert {id: node["override_display_id"] for id, node in copies.items()} == {
        "x.3_encode": "encode", "x.3_sample": "sample", "x.3_decode": "decode"}


def test_images_that_do_not_come_from_the_views_are_refused():
    nodes = drawing_graph()
    nodes["encode"]["inputs"]["text"], nodes["sample"]["inputs"]["seed"] = "fixed", 1
    with pytest.raises(UserError, match="do not come from the node that gives the values: link the decoded image"):
        part(nodes)


def test_a_graph_that_runs_in_a_circle_ends():
    nodes = drawing_graph()
    nodes["latent"]["inputs"]["width"] = ["latent", 0]
    assert list(part(nodes).nodes) == ["encode", "sample", "decode"]
