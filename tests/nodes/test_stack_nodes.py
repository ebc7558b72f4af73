"""LoraStack, PromptLoras and ApplyLoraStack: what stands in a stack, what is said to it, and how it is applied."""

import json

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from safetensors.torch import load_file, save_file

from lora_bootstrap.nodes.stack import ApplyLoraStack, LoraStackNode, PromptLoras
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run, read_run

UP, MIDDLE = "lora_unet_up_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q", "lora_unet_mid_block_resnets_0_conv1"
TEXT = "lora_te1_text_model_encoder_layers_0_mlp_fc1"


@pytest.fixture
def put(host):
    """A maker of LoRA files below output/loras; returns the path."""

    def make(name, trigger="", kind="", modules=(UP, MIDDLE, TEXT), base=""):
        path = host.output / "loras" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"modelspec.trigger_phrase": trigger, "ss_base_model_version": base} | (
            {"lora_bootstrap.config": json.dumps({"kind": kind})} if kind else {})
        save_file({f"{module}.{end}": torch.full(shape, 0.5) for module in modules
                   for end, shape in (("lora_up.weight", (4, 2)), ("lora_down.weight", (2, 4)), ("alpha", ()))}, path,
                  metadata)
        return path

    return make


def stack(entries, run_strength=0.8, **linked):
    return LoraStackNode.execute(entries, run_strength, **linked)


def shown(host):
    return host.server.texts[-1][0].split("  \n")


# -- LoraStack ---------------------------------------------------------------------------------------------------------


def test_entries_become_a_stack_as_every_pack_takes_it(put, host):
    put("girl/girl", "akane, blue hair")
    put("ink", "inkstyle")
    found, advice, triggers = stack("girl : 0.7\nink : 0.5 : 0.3\noff ink").args
    assert found == [("girl/girl.safetensors", 0.7, 0.7), ("ink.safetensors", 0.5, 0.3)]
    assert all(type(entry) is tuple for entry in found)
    assert advice == "" and triggers == "akane, blue hair, inkstyle"
    assert shown(host) == ["girl: 0.7", "ink: 0.5, text encoder 0.3"]


def test_a_lora_that_the_host_makes_stronger_or_weaker_than_its_trainer_is_named(put, host, adapter, caplog):
    """https://github.com/Comfy-Org/ComfyUI/issues/12191"""
    module = "unet.up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q"
    put("ink")
    save_file({f"{module}.{end}.weight": torch.ones(shape) for end, shape in (("lora_A", (2, 4)), ("lora_B", (4, 2)))},
              host.output / "loras" / "half.safetensors",
              {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 1, "unet.r": 2})})
    found, advice, _ = stack("ink\nhalf").args
    note = ("half.safetensors has alphas in its metadata alone (1 of 1 layers). They scale its layers by 0.5, which is "
            "how it counts here. ComfyUI (0.33 at least) does not read them, so Load LoRA and Apply LoRA Stack scale "
            "by 1.")
    assert note in shown(host) and advice.count("metadata") == 0
    ApplyLoraStack.execute("model", found)
    assert caplog.messages == [note]


def test_an_empty_text_is_an_empty_stack(host):
    assert stack("# nothing\n").args == ([], "", "") and shown(host) == ["no LoRA"]


def test_linked_loras_come_first_then_the_run_then_the_entries(put, host):
    put("ink")
    put("before")
    run = open_run(host.output / "loras", TrainConfig(name="girl", steps=300), key="girl")
    for path in (run.checkpoint_path(100), run.checkpoint_path(200)):
        save_file({"a": torch.ones(1)}, path)
    run.close()
    found, advice, _ = stack("ink : 0.9", 0.6, LORA_STACK=[("before.safetensors", 0.1, 0.2)],
                             run=read_run(run.folder)).args
    assert found == [("before.safetensors", 0.1, 0.2), ("girl/girl-step000200.safetensors", 0.6, 0.6),
                     ("ink.safetensors", 0.9, 0.9)]
    assert "ink at 0.9 is not below the character girl-step000200 at 0.6" in advice


def test_a_run_that_another_file_hides_is_refused_with_both_paths(put, host):
    run = open_run(host.output / "loras", TrainConfig(name="girl", steps=2), key="girl")
    save_file({"step": torch.ones(1)}, run.checkpoint_path(2))
    run.close()
    hiding = host.base / "models" / "loras" / "girl" / run.checkpoint_path(2).name
    hiding.parent.mkdir(parents=True)
    save_file({"step": torch.zeros(1)}, hiding)
    with pytest.raises(UserError, match=f"ComfyUI loads {hiding} under the name .*, not {run.checkpoint_path(2)}. "):
        stack("", run=read_run(run.folder))


def test_what_the_run_has_kept_since_it_was_loaded_counts(host):
    run = open_run(host.output / "loras", TrainConfig(name="girl", steps=300), key="girl")
    save_file({"a": torch.ones(1)}, run.checkpoint_path(100))
    run.close()
    before = read_run(run.folder)
    run = open_run(host.output / "loras", TrainConfig(name="girl", steps=300), key="girl")
    save_file({"a": torch.ones(1)}, run.final_path)
    run.mark_finished(300, stopped=False)
    run.close()
    assert stack("", run=before)[0] == [("girl/girl.safetensors", 0.8, 0.8)]


def test_a_run_that_was_trained_as_a_style_is_no_character(put, host):
    put("ink")
    run = open_run(host.output / "loras", TrainConfig(name="wash", steps=300), key="wash")
    save_file({"a": torch.ones(1)}, run.final_path, {"lora_bootstrap.config": json.dumps({"kind": "style"})})
    run.mark_finished(300, stopped=False)
    run.close()
    assert stack("ink : 0.7", 0.6, run=read_run(run.folder))[1] == ""


def test_the_guides_rules_are_advice_and_stand_in_the_node(put, host):
    put("girl", kind="character")
    put("ink", kind="style")
    for name in ("c", "d"):
        put(name)
    advice = stack("girl : 0.8\nink : 1\nc : 0.5\nd : 0.5")[1].splitlines()
    assert advice[0].startswith("4 LoRAs at once") and advice[1].startswith("The strengths sum to 2.80")
    assert advice[2].startswith("ink at 1 is not below the character girl")
    assert "start at 0.5 for a style LoRA" in advice[3]
    assert shown(host)[4:] == advice


def test_a_lora_that_is_linked_and_written_counts_twice_and_the_node_says_so(put):
    put("ink")
    found, advice, _ = stack("ink : 0.2", LORA_STACK=[["ink.safetensors", 0.3, 0.3]]).args
    assert len(found) == 2 and advice == "ink.safetensors is listed 2 times; its strengths add up."


def test_triggers_are_of_loras_that_are_used_each_once(put):
    put("girl", "akane")
    put("again", "akane, hat")
    put("off", "never")
    assert stack("girl\nagain : 0 : 0.5\noff : 0")[2] == "akane, hat"


def test_some_blocks_are_a_file_of_their_own_in_the_stack(put, host):
    put("girl")
    found = stack("girl : 0.5 : 0.4 : no text")[0]
    (name, *strengths), = found
    assert name.startswith("filtered/girl-") and strengths == [0.5, 0.4]
    assert {key.split(".")[0] for key in load_file(host.output / "loras" / name)} == {UP, MIDDLE}
    assert "girl: 2 of 3 blocks" in shown(host)
    assert stack("girl : 0.5 : 0.4 : all")[0] == [("girl.safetensors", 0.5, 0.4)]


def test_a_style_block_of_an_sdxl_lora(put, host):
    put("girl", base="sdxl_base_v1-0")
    (name, *_), = stack("girl : 1 : 1 : style")[0]
    assert {key.split(".")[0] for key in load_file(host.output / "loras" / name)} == {UP}


def test_a_filtered_file_that_was_deleted_is_made_again(put, host):
    put("girl")
    text = "girl : 1 : 1 : no text"
    (name, *_), = stack(text)[0]
    before = LoraStackNode.fingerprint_inputs(text)
    assert LoraStackNode.fingerprint_inputs(text) == before
    (host.output / "loras" / name).unlink()
    assert LoraStackNode.fingerprint_inputs(text) != before
    assert stack(text)[0] == [(name, 1, 1)] and (host.output / "loras" / name).is_file()


def test_a_file_that_is_another_under_the_same_name_is_noticed(put):
    put("girl")
    before = LoraStackNode.fingerprint_inputs("girl"), PromptLoras.fingerprint_inputs("<lora:girl> <lora:new>")
    put("girl", "akane")
    after = LoraStackNode.fingerprint_inputs("girl"), PromptLoras.fingerprint_inputs("<lora:girl> <lora:new>")
    assert before[0] != after[0] and before[1] != after[1]
    put("new")
    assert PromptLoras.fingerprint_inputs("<lora:girl> <lora:new>") != after[1]
    json.dumps(after)


@pytest.mark.parametrize(("entries", "words"), [
    ("gril : 0.8", "there is no LoRA 'gril'. Did you mean 'girl'?"), ("girl : x", "strength 'x' in 'girl : x'"),
    ("girl : 50", "must be from -10 to 10"), ("girl\ngirl : 0.5", "is listed twice"),
    ("girl : 1 : 1 : mid_blok*", "girl.safetensors has no block 'mid_blok*'"),
    ("girl : 1 : 1 : style", "known for SDXL only"), ("girl : 1 : 1 : not *", "leaves nothing of girl.safetensors")])
def test_mistakes_in_the_entries_are_a_red_node(put, entries, words):
    put("girl")
    told = LoraStackNode.validate_inputs(entries)
    assert words in told and "\n" not in told


def test_good_entries_and_linked_ones_are_no_red_node(put):
    put("girl")
    assert LoraStackNode.validate_inputs("girl : 0.5 : 0.4 : no text\noff nobody") is True
    assert LoraStackNode.validate_inputs(None) is True


@pytest.mark.parametrize("linked", [[("a",)], "abc", [("a", "b", "c")], 5])
def test_what_is_no_stack_is_told(linked, host):
    with pytest.raises(UserError, match="LORA_STACK (has|is) .*; (it|each) must be"):
        stack("", LORA_STACK=linked)


# -- PromptLoras -------------------------------------------------------------------------------------------------------


def test_a_prompts_loras_become_a_stack_and_the_rest_a_prompt(put, host):
    put("girl", "akane")
    put("chars/ink")
    found, advice, triggers, prompt = PromptLoras.execute(
        "Akane, <lora:girl:0.7>, smile <lora:ink:0.5:0.3>", True, LORA_STACK=[("girl.safetensors", 0.1, 0.1)]).args
    assert found == [("girl.safetensors", 0.1, 0.1), ("girl.safetensors", 0.7, 0.7),
                     ("chars/ink.safetensors", 0.5, 0.3)]
    assert prompt == "Akane, smile" and triggers == "akane"
    assert advice == "girl.safetensors is listed 2 times; its strengths add up."


def test_a_trigger_that_is_not_in_the_prompt_is_advice(put):
    put("girl", "akane, hat")
    assert PromptLoras.execute("a hat <lora:girl:0.7>", True)[1] == "The trigger 'akane' is not in the prompt."


def test_unknown_loras_are_a_red_node_or_left_out_with_a_line(put, host):
    put("girl")
    text = "smile <lora:gril:0.8>"
    assert "Did you mean 'girl'?" in PromptLoras.validate_inputs(text, True)
    assert PromptLoras.validate_inputs(text, False) is True and PromptLoras.validate_inputs(None, True) is True
    assert "is not a number" in PromptLoras.validate_inputs("<lora:girl:x>", False)
    with pytest.raises(UserError, match="there is no LoRA 'gril'"):
        PromptLoras.execute(text, True)
    found, advice, _, prompt = PromptLoras.execute(text, False).args
    assert found == [] and prompt == "smile" and advice.startswith("Left out: there is no LoRA 'gril'")
    assert shown(host)[1] == advice


# -- ApplyLoraStack ----------------------------------------------------------------------------------------------------


def test_a_stack_is_applied_one_after_the_other(put, adapter):
    put("girl")
    put("sub/ink")
    model, clip = ApplyLoraStack.execute("M", [("girl.safetensors", 0.8, 0.6), ("sub/ink.safetensors", -0.5, 0)],
                                         "C").args
    assert (model, clip) == ("M+girl+ink", "C+girl+ink")
    assert adapter.calls == [("apply", "girl.safetensors", 0.8, 0.6), ("apply", "ink.safetensors", -0.5, 0)]


def test_without_a_text_encoder_only_that_output_is_blocked(put, adapter):
    put("girl")
    model, clip = ApplyLoraStack.execute("M", [("girl.safetensors", 0.8, 0.6)]).args
    assert model == "M+girl" and isinstance(clip, ExecutionBlocker)


def test_strength_zero_and_free_places_are_not_read(put, adapter):
    put("girl")
    given = [("girl.safetensors", 0, 0), ("None", 1, 1), (None, 1, 1)]
    assert ApplyLoraStack.execute("M", given, "C").args == ("M", "C")
    assert ApplyLoraStack.execute("M", [("girl.safetensors", 0, 1)])[0] == "M" and adapter.calls == []
    assert ApplyLoraStack.execute("M", [("girl.safetensors", 0, 1)], "C")[1] == "C+girl"


def test_a_missing_file_is_named_before_any_is_read(put, adapter):
    put("girl")
    with pytest.raises(UserError, match="there is no LoRA 'gril.safetensors'. Did you mean 'girl'"):
        ApplyLoraStack.execute("M", [("girl.safetensors", 1, 1), ("gril.safetensors", 1, 1)], "C")
    assert adapter.calls == []
