"""The route of the list in LoRA Stack: what it tells of each line, of the files, and the advice."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.host.routes import stacks as stack_routes  # noqa: F401 (registers itself)
from lora_bootstrap.host.routes.views.stack_view import MOST_LINES
from lora_bootstrap.nodes.stack import LoraStackNode

from ...helpers.asking import ask, sent_as_json

UP, MIDDLE = "lora_unet_up_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q", "lora_unet_mid_block_resnets_0_conv1"


@pytest.fixture(autouse=True)
def loras(host):
    """A character and a style of SDXL, one of no known base, and a file that is no LoRA."""
    for name, metadata in (
        ("girl/girl", {"modelspec.trigger_phrase": "akane, fox ears", "ss_base_model_version": "sdxl_base_v1-0",
                       "lora_bootstrap.config": json.dumps({"kind": "character"})}),
        ("ink", {"lora_bootstrap.config": json.dumps({"kind": "style"})}),
        ("off shoulder", {}),
    ):
        path = host.output / "loras" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file({f"{module}.{end}": torch.full(shape, 0.5) for module in (UP, MIDDLE)
                   for end, shape in (("lora_up.weight", (4, 2)), ("lora_down.weight", (2, 4)), ("alpha", ()))}, path,
                  metadata)
    (host.output / "loras" / "broken.safetensors").write_bytes(b"no header")


def post(body):
    ((status, told),) = ask(("POST", "/lora_bootstrap/stack", sent_as_json(json.dumps(body))))
    return status, told


def tell(text):
    status, told = post({"entries": text})
    assert status == 200
    return told


def lines(text):
    return tell(text)["lines"]


def test_each_line_is_told_with_the_file_it_names():
    told = tell("girl : 0.7\r\n\n# only words\noff ink : 0.4\n<lora:ink:0.5> <lora:off shoulder:0.2>\noff shoulder : 0")
    assert [(line["off"], [lora["name"] for lora in line["loras"]]) for line in told["lines"]] == [
        (False, ["girl/girl.safetensors"]), (False, []), (True, [""]), (True, ["ink.safetensors"]),
        (False, ["ink.safetensors", "off shoulder.safetensors"]), (False, ["off shoulder.safetensors"])]
    assert [line["error"] for line in told["lines"][:5]] == [""] * 5
    assert "is listed twice" in told["lines"][5]["error"]
    assert told["total"] == 1.4 and told["advice"] == []


def test_what_a_file_says_of_itself_is_told_once():
    files = tell("girl : 0.7\noff girl\nink : 0.5")["files"]
    assert sorted(files) == ["girl/girl.safetensors", "ink.safetensors"]
    girl, ink = files["girl/girl.safetensors"], files["ink.safetensors"]
    assert (girl["role"], girl["triggers"]) == ("character", ["akane", "fox ears"])
    assert (ink["role"], ink["triggers"]) == ("style", [])
    assert girl["blocks"] == ["mid_block.resnets.0", "up_blocks.0.attentions.1"]
    assert list(girl["presets"]) == ["all", "style", "no text"] and list(ink["presets"]) == ["all", "no text"]


def test_a_name_that_is_not_there_is_told_with_the_nearest():
    (line,) = lines("grl : 0.7")
    assert line["loras"] == [{"name": "", "near": ["girl/girl"]}] and "Did you mean 'girl/girl'?" in line["error"]
    (off,) = lines("off grl")
    assert off["error"] == "" and off["loras"] == [{"name": "", "near": ["girl/girl"]}]


def test_what_would_stop_the_node_stands_at_its_line():
    text = "girl : much\nink : 0.5 : 0.5 : style\nbroken\ngirl : 1 : 1 : mid*\ngirl : 1 : 1 : tail\nink : 1 : 1 : 1 : 1"
    errors = [line["error"] for line in lines(text)]
    assert "'much' in 'girl : much' is not a number" in errors[0] and "known for SDXL only" in errors[1]
    assert "is not a complete safetensors file" in errors[2] and errors[3] == ""
    assert "has no block 'tail'" in errors[4] and "5 parts between colons" in errors[5]
    for number, line in enumerate(text.splitlines()):
        if number != 2:  # whose file is read only when the node runs
            assert (LoraStackNode.validate_inputs(line) is True) == (errors[number] == "")


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "girl/../../secret", "..\\secret"])
def test_no_name_leads_out_of_the_hosts_folders(host, name):
    (host.base / "secret.safetensors").write_bytes((host.output / "loras" / "ink.safetensors").read_bytes())
    told = tell(f"{name} : 1")
    assert told["files"] == {} and told["lines"][0]["loras"][0]["name"] == ""


def test_the_advice_is_the_guides_for_what_is_on_and_there():
    assert tell("girl : 0.6\nink : 0.8\noff off shoulder : 2\nnone : 3")["advice"] == [
        "ink at 0.8 is not below the character girl at 0.6. The character should be the strongest."]
    told = tell("girl : -1.2\nink : 0.7")
    assert told["total"] == 1.9 and told["advice"][0].startswith("The strengths sum to 1.90")


def test_a_file_that_changed_is_read_again(host):
    assert tell("ink")["files"]["ink.safetensors"]["triggers"] == []
    save_file({f"{UP}.lora_up.weight": torch.ones(4, 2), f"{UP}.lora_down.weight": torch.ones(2, 4)},
              host.output / "loras" / "ink.safetensors", {"modelspec.trigger_phrase": "inkstyle"})
    assert tell("ink")["files"]["ink.safetensors"]["triggers"] == ["inkstyle"]


@pytest.mark.parametrize("body", [None, [], {}, {"entries": None}, {"entries": 3}])
def test_another_body_is_refused(body):
    status, told = post(body)
    assert status == 400 and "the body must be" in told["error"]


def test_a_text_that_is_too_long_for_a_list_is_refused():
    status, told = post({"entries": "\n" * MOST_LINES + "ink"})
    assert status == 400 and "too long for a list" in told["error"]
