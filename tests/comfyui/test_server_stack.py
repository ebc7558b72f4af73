"""Stacks in a real ComfyUI server: the pictures of chained loaders to the pixel, some blocks of a LoRA, red nodes."""

from __future__ import annotations

import numpy as np
import pytest

from ..helpers.server import Refused
from ..helpers.serving import loras, pixels

RUN = "stacked"
FIRST, LAST = f"{RUN}/{RUN}-step000008.safetensors", f"{RUN}/{RUN}.safetensors"
STRENGTHS = ((FIRST, 0.7, 0.4), (LAST, 0.9, 0.9))
PROMPT = "akane, grass"


@pytest.fixture(scope="module")
def run(server, graph):
    """A run whose two files visibly change the sandbox, its text encoder too."""
    made = graph(RUN, steps=16, learning_rate=3e-3)
    made["settings"]["inputs"] |= {"save_every": 8, "text_encoder": "on"}
    with server.client() as client:
        succeeded(client.run(made))
    assert {FIRST, LAST} <= set(loras(server))
    return RUN


@pytest.fixture
def draw(server, tab, run, graph):
    """Draws with nodes between the loader and the sampler; returns the picture and how the prompt ended."""

    def drawn(nodes, model=("base", 0), clip=("base", 1), text=PROMPT, shown=()):
        node = graph.node
        result = succeeded(tab.run({
            "base": node("LoraBootstrap_LoadSandbox", picture="akane"), **nodes,
            "yes": node("CLIPTextEncode", clip=list(clip), text=text),
            "no": node("CLIPTextEncode", clip=list(clip), text=""),
            "empty": node("EmptyLatentImage", width=128, height=128, batch_size=1),
            "sample": node("KSampler", model=list(model), positive=["yes", 0], negative=["no", 0],
                           latent_image=["empty", 0], seed=3, steps=6, cfg=3.0, sampler_name="euler",
                           scheduler="normal", denoise=1.0),
            "decode": node("VAEDecode", samples=["sample", 0], vae=["base", 2]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix="stack"),
            **{f"show{at}": node("PreviewAny", source=link) for at, link in enumerate(shown)},
        }))
        return (pixels(server, result.images("save")[0]),
                *(result.outputs[f"show{at}"]["text"][0] for at in range(len(shown))))

    drawn.node = graph.node
    return drawn


def succeeded(result):
    assert result.status == "success", result.error
    return result


def chained(draw, entries=STRENGTHS):
    """The host's own loader for each, one after the other."""
    nodes, model, clip = {}, ["base", 0], ["base", 1]
    for at, (name, strength, on_clip) in enumerate(entries):
        nodes[f"lora{at}"] = draw.node("LoraLoader", model=model, clip=clip, lora_name=name, strength_model=strength,
                                       strength_clip=on_clip)
        model, clip = [f"lora{at}", 0], [f"lora{at}", 1]
    return draw(nodes, model, clip)[0]


def applied(draw, stack, text=PROMPT, shown=()):
    """The pictures of ApplyLoraStack on what the node `stack` gives."""
    nodes = {"stack": stack, "apply": draw.node("LoraBootstrap_ApplyLoraStack", model=["base", 0], clip=["base", 1],
                                                LORA_STACK=["stack", 0])}
    return draw(nodes, ("apply", 0), ("apply", 1), text, shown)


def entries_node(draw, entries, **inputs):
    return draw.node("LoraBootstrap_LoraStack", entries=entries, **inputs)


def lines(entries=STRENGTHS):
    return "\n".join(f"{name} : {strength} : {on_clip}" for name, strength, on_clip in entries)


def test_a_stack_draws_to_the_pixel_what_chained_loaders_draw(draw):
    plain, by_hand = draw({})[0], chained(draw)
    drawn, advice, triggers = applied(draw, entries_node(draw, lines()), shown=(["stack", 1], ["stack", 2]))
    np.testing.assert_array_equal(drawn, by_hand)
    assert np.abs(by_hand.astype(int) - plain).max() > 20
    assert "stacked at 0.9: in a stack, start at 0.8 for a character LoRA" in advice and triggers == "akane"
    other = applied(draw, entries_node(draw, lines([(FIRST, 0.7, 0.9), STRENGTHS[1]])))[0]
    assert (other != by_hand).any(), "the strength of the text encoder counts"


def test_loras_of_a_prompt_draw_the_same(draw):
    text = f"akane, <lora:{FIRST}:0.7:0.4> <lora:{RUN}:0.9>, grass"
    prompt = draw.node("LoraBootstrap_PromptLoras", text=text)
    drawn, rest = applied(draw, prompt, ["stack", 3], shown=(["stack", 3],))
    np.testing.assert_array_equal(drawn, chained(draw))
    assert rest == PROMPT


def test_stacks_join_and_a_runs_last_checkpoint_is_in_them(draw):
    stack = entries_node(draw, "", LORA_STACK=["below", 0], run=["run", 0], run_strength=0.9)
    nodes = {"below": entries_node(draw, lines(STRENGTHS[:1])), "stack": stack,
             "run": draw.node("LoraBootstrap_LoadRun", run=RUN),
             "apply": draw.node("LoraBootstrap_ApplyLoraStack", model=["base", 0], clip=["base", 1],
                                LORA_STACK=["stack", 0])}
    np.testing.assert_array_equal(draw(nodes, ("apply", 0), ("apply", 1))[0], chained(draw))


def test_some_blocks_of_a_lora_are_a_file_that_the_hosts_loader_lists(server, draw):
    drawn = applied(draw, entries_node(draw, f"{RUN} : 1 : 1 : no text"))[0]
    (made,) = [name for name in loras(server) if name.startswith(f"filtered/{RUN}-")]
    np.testing.assert_array_equal(drawn, chained(draw, [(made, 1, 1)]))
    np.testing.assert_array_equal(drawn, chained(draw, [(LAST, 1, 0)]), "the text encoder's part alone was left out")
    half = applied(draw, entries_node(draw, f"{RUN} : 1 : 1 : up_blocks.*"))[0]
    assert (half != drawn).any() and (half != draw({})[0]).any()


def test_the_model_alone_can_be_given(draw):
    nodes = {"stack": entries_node(draw, f"{RUN} : 0.8"),
             "apply": draw.node("LoraBootstrap_ApplyLoraStack", model=["base", 0], LORA_STACK=["stack", 0])}
    np.testing.assert_array_equal(draw(nodes, ("apply", 0))[0], draw({"lora": draw.node(
        "LoraLoaderModelOnly", model=["base", 0], lora_name=LAST, strength_model=0.8)}, ("lora", 0))[0])


def test_mistakes_are_red_nodes_before_anything_runs(tab, draw):
    show = {"show": draw.node("PreviewAny", source=["stack", 1])}
    for entries, words in ((f"{RUN}d : 0.8", f"Did you mean '{RUN}/{RUN}'"), (f"{RUN} : strong", "is not a number"),
                           (f"{RUN} : 50", "must be from -10 to 10"), (f"{RUN}\n{RUN}", "is listed twice"),
                           (f"{RUN} : 1 : 1 : mid_blok", "has no block"), (f"{RUN} : 1 : 1 : style", "SDXL only")):
        with pytest.raises(Refused, match=words):
            tab.queue({"stack": entries_node(draw, entries), **show})
    prompt = draw.node("LoraBootstrap_PromptLoras", text="akane <lora:nobody:0.8>")
    with pytest.raises(Refused, match="there is no LoRA 'nobody'"):
        tab.queue({"stack": prompt, **show})
    prompt["inputs"]["strict"] = False
    told = succeeded(tab.run({"stack": prompt, **show})).outputs["show"]["text"][0]
    assert told.startswith("Left out: there is no LoRA 'nobody'")
