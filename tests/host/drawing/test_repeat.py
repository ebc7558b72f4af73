"""The part of a graph between two nodes: found, told from others by a hash, and copied for each value."""

import pytest

from lora_bootstrap.host.drawing.repeat import RepeatGraph, part_between
from lora_bootstrap.trainer.common.errors import UserError

from ...helpers.drawing_graph import drawing_graph


class Facts:
    """Nodes say nothing about themselves, and name no files."""

    def state(self, id, node):
        return None, True

    def lazy(self, kind, name):
        return kind == "Switch" and name.startswith("on_")

    def files(self, value):
        return ()


def part(nodes):
    return part_between(nodes.__getitem__, "views", ["decode", 0], "link the decoded image.", Facts(), (0, 1))


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


def test_a_setting_that_all_samplers_get_over_one_link_is_that_link():
    nodes = drawing_graph() | {"figures": {"class_type": "LoraBootstrap_SamplingByModel", "inputs": {"steps": 30}}}
    nodes["sample"]["inputs"]["steps"] = ["figures", 2]
    nodes["refine"] = {"class_type": "KSampler", "inputs": {**nodes["sample"]["inputs"], "latent_image": ["sample", 0]}}
    nodes["decode"]["inputs"]["samples"] = ["refine", 0]
    found = part(nodes)
    assert found.linked["steps"] == ("figures", 2) and "steps" not in found.settings and found.settings["cfg"] == 3.0
    nodes["sample"]["inputs"]["cfg"] = nodes["refine"]["inputs"]["cfg"] = ["encode", 0]
    assert "cfg" not in part(nodes).linked, "made by what is repeated"
    nodes["refine"]["inputs"]["steps"] = 8
    assert "steps" not in part(nodes).linked and "steps" not in part(nodes).settings


@pytest.mark.parametrize(("name", "value"), [("steps", 20), ("cfg", 3.5), ("seed", 7)])
def test_what_the_copied_nodes_are_set_to_is_in_the_recipe(name, value):
    nodes = drawing_graph()
    nodes["sample"]["inputs"][name] = value
    assert part(nodes).recipe != part(drawing_graph()).recipe


def test_what_comes_in_from_outside_counts_by_its_content():
    found = part(drawing_graph())
    assert found.outside == (("base", 1), ("latent", 0), ("lora", 0), ("negative", 0), ("base", 2))
    assert found.key("a", []) == part(drawing_graph()).key("a", []) != found.key("b", [])
    assert found.key("a", ["a file"]) not in (found.key("a", []), found.key("a", ["another"]))


def test_one_hash_is_made_of_all_that_comes_in():
    builder, found = RepeatGraph(), part(drawing_graph())
    end = found.add_contents(builder, "7")
    nodes = builder.finalize()
    assert [node["inputs"]["value"] for node in nodes.values()] == [list(link) for link in found.outside]
    assert [node["inputs"]["before"] for node in nodes.values()] == ["", *([id, 0] for id in list(nodes)[:-1])]
    assert end == [list(nodes)[-1], 0] and {node["override_display_id"] for node in nodes.values()} == {"7"}


def test_an_output_of_the_source_that_no_value_replaces_comes_in_from_outside():
    nodes = drawing_graph()
    nodes["sample"]["inputs"]["scheduler"] = ["views", 4]
    assert ("views", 4) in part(nodes).outside and ("views", 1) not in part(nodes).outside


def test_other_ids_of_the_nodes_are_the_same_recipe():
    nodes = drawing_graph()
    nodes["77"] = nodes.pop("negative")
    nodes["sample"]["inputs"]["negative"] = ["77", 0]
    assert part(nodes).recipe == part(drawing_graph()).recipe


def test_a_copy_takes_values_for_the_source_and_links_what_is_around_it():
    builder = RepeatGraph()
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


# -- loops -------------------------------------------------------------------------------------------------------------


def looped(start_inputs=None):
    """The graph with one of the host's loops between encoder and decoder, as the host notes it when it is queued."""
    nodes = drawing_graph()
    nodes["start"] = {"class_type": "StartLoop", "inputs": {"mode": "simple", **(start_inputs or {})},
                      "_loop_body": ["scale", "sample"], "_loop_end": "end"}
    nodes["scale"] = {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["start", 4], "scale_by": 1.5}}
    nodes["sample"]["inputs"]["latent_image"] = ["scale", 0]
    nodes["end"] = {"class_type": "EndLoop", "inputs": {"output_value": ["sample", 0]}}
    nodes["decode"]["inputs"]["samples"] = ["end", 0]
    return nodes


@pytest.mark.parametrize("start_inputs", [{}, {"initial_iteration_value": ["encode", 0]}])
def test_a_loop_of_the_host_is_copied_whole_with_what_the_host_notes_of_it(start_inputs):
    """https://github.com/Comfy-Org/ComfyUI/pull/16227"""
    found, builder = part(looped(start_inputs)), RepeatGraph()
    assert set(found.nodes) == {"encode", "start", "scale", "sample", "end", "decode"}
    for number in (0, 1):
        found.copy(builder, number, {0: "akane", 1: number})
    copies = builder.finalize()
    for number in (0, 1):
        assert copies[f"x.{number}_start"] == {
            "class_type": "StartLoop", "override_display_id": "start",
            "inputs": {"mode": "simple", **{name: [f"x.{number}_encode", 0] for name in start_inputs}},
            "_loop_body": [f"x.{number}_scale", f"x.{number}_sample"], "_loop_end": f"x.{number}_end"}
        assert copies[f"x.{number}_scale"]["inputs"]["samples"] == [f"x.{number}_start", 4]
    assert not {"_loop_body", "_loop_end"} & set(copies["x.0_end"])


def test_a_loop_that_does_not_depend_on_the_source_stays_outside():
    nodes = looped()
    nodes["sample"]["inputs"]["latent_image"], nodes["decode"]["inputs"]["samples"] = ["end", 0], ["sample", 0]
    nodes["end"]["inputs"]["output_value"] = ["scale", 0]
    nodes["start"]["_loop_body"] = ["scale"]
    found = part(nodes)
    assert set(found.nodes) == {"encode", "sample", "decode"} and ("end", 0) in found.outside


@pytest.mark.parametrize(("node", "name", "link"), [("decode", "samples", ["sample", 0]),
                                                    ("start", "_loop_body", ["scale", "sample", "views"])])
def test_a_loop_that_is_only_partly_between_the_two_is_refused_in_one_line(node, name, link):
    nodes = looped()
    (nodes[node] if name in nodes[node] else nodes[node]["inputs"])[name] = link
    with pytest.raises(UserError, match="the loop that begins at node start is only partly between the node"):
        part(nodes)


def test_a_branch_that_the_host_may_never_ask_for_is_not_run_for_its_content_but_is_in_the_recipe():
    nodes = drawing_graph()
    nodes["other"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "b.safetensors"}}
    nodes["switch"] = {"class_type": "Switch", "inputs": {"on_true": ["sample", 0], "on_false": ["other", 0]}}
    nodes["decode"]["inputs"]["samples"] = ["switch", 0]
    found = part(nodes)
    assert ("other", 0) not in found.outside and ("base", 2) in found.outside
    nodes["other"]["inputs"]["ckpt_name"] = "c.safetensors"
    assert part(nodes).recipe != found.recipe
