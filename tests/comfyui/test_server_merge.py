"""Stacks in a real ComfyUI server: a report on them, one file instead of two loaders, and a split in time by hooks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ..helpers.serving import pixels

HERO, INK = "merge-hero", "merge-ink"
STRENGTHS = {HERO: 1.0, INK: 0.8}
CLOSE = 2
"""Of 255: what float32 sums in another order may come to."""


@pytest.fixture(scope="module")
def loras(server, graph):
    """Two LoRAs that visibly change the sandbox, as the host's loaders list them."""
    with server.client() as client:
        for seed, name in enumerate(STRENGTHS):
            made = graph(name, steps=16, seed=seed, learning_rate=3e-3)
            result = client.run(made)
            assert result.status == "success", result.error
    return {name: f"{name}/{name}.safetensors" for name in STRENGTHS}


@pytest.fixture
def make(server, graph, loras):
    """A maker of graphs that draw: nodes between the loader and the sampler are the test's."""
    node = graph.node

    def drawing(extra=None, model=("base", 0), clip=("base", 1)):
        return {
            "base": node("LoraBootstrap_LoadSandbox", picture="akane"), **(extra or {}),
            "yes": node("CLIPTextEncode", clip=list(clip), text="akane, grass"),
            "no": node("CLIPTextEncode", clip=list(clip), text=""),
            "empty": node("EmptyLatentImage", width=128, height=128, batch_size=1),
            "sample": node("KSampler", model=list(model), positive=["yes", 0], negative=["no", 0],
                           latent_image=["empty", 0], seed=3, steps=8, cfg=3.0, sampler_name="euler",
                           scheduler="normal", denoise=1.0),
            "decode": node("VAEDecode", samples=["sample", 0], vae=["base", 2]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix="merge"),
        }

    drawing.node = node
    return drawing


@pytest.fixture
def draw(server, tab):
    def drawn(prompt):
        return pixels(server, succeeded(tab.run(prompt)).images("save")[0]).astype(int)

    return drawn


def succeeded(result):
    assert result.status == "success", result.error
    return result


def stack(make, loras):
    """A LORA_STACK of both, as our own node gives it."""
    return make.node("LoraBootstrap_LoraStack", entries="\n".join(
        f"{loras[name]} : {strength}" for name, strength in STRENGTHS.items()))


def chained(make, loras):
    """Both loaders of the host, one after the other."""
    model, clip, nodes = ["base", 0], ["base", 1], {}
    for name, strength in STRENGTHS.items():
        nodes[name] = make.node("LoraLoader", model=model, clip=clip, lora_name=loras[name], strength_model=strength,
                                strength_clip=strength)
        model, clip = [name, 0], [name, 1]
    return make(nodes, model, clip)


def apart(one, other):
    return np.abs(one - other).max()


def test_a_report_needs_no_model_and_is_kept(server, tab, make, loras):
    run = succeeded(tab.run({
        "stack": stack(make, loras),
        "report": make.node("LoraBootstrap_ConflictReport", LORA_STACK=["stack", 0]),
        "table": make.node("PreviewImage", images=["report", 1]),
        "heat": make.node("PreviewImage", images=["report", 2]),
        "verdict": make.node("PreviewAny", source=["report", 4]),
        "words": make.node("PreviewAny", source=["report", 0]),
        "better": make.node("LoraBootstrap_ConflictReport", LORA_STACK=["report", 3]),
    }))
    told = json.loads((server.base / "output" / "conflicts" / f"{HERO}+{INK}.json").read_text())
    assert run.images("table") and run.images("heat") and run.outputs["verdict"]["text"] == [told["verdict"]]
    assert "respond to the same inputs with kappa" in run.outputs["words"]["text"][0]
    assert [file["strength"] for file in told["files"]] != [*STRENGTHS.values()], "the second report was written last"


def test_a_merged_file_draws_what_both_loaders_draw(server, tab, make, loras, draw):
    plain, both = draw(make()), draw(chained(make, loras))
    merged = {"stack": stack(make, loras), "merge": make.node("LoraBootstrap_MergeLoras", LORA_STACK=["stack", 0],
                                                              name="merged by sum")}
    run = succeeded(tab.run(merged | {"report": make.node("PreviewAny", source=["merge", 2])}))
    assert "Plain sum of" in run.outputs["report"]["text"][0]
    one = draw(make({"merged": make.node(
        "LoraLoader", model=["base", 0], clip=["base", 1], lora_name="merged/merged by sum.safetensors",
        strength_model=1.0, strength_clip=1.0)}, ("merged", 0), ("merged", 1)))
    assert apart(one, both) <= CLOSE < 10 < apart(both, plain)
    stacked = {**merged, "apply": make.node("LoraBootstrap_ApplyLoraStack", model=["base", 0], clip=["base", 1],
                                            LORA_STACK=["merge", 0])}
    assert apart(draw(make(stacked, ("apply", 0), ("apply", 1))), both) <= CLOSE


@pytest.mark.parametrize("method", ["null_space", "ties", "even"])
def test_other_methods_make_files_that_the_host_loads(tab, make, loras, draw, method):
    merged = {"stack": stack(make, loras), "merge": make.node("LoraBootstrap_MergeLoras", LORA_STACK=["stack", 0],
                                                              name=method, method=method, rank=8),
              "apply": make.node("LoraBootstrap_ApplyLoraStack", model=["base", 0], clip=["base", 1],
                                 LORA_STACK=["merge", 0])}
    assert apart(draw(make(merged, ("apply", 0), ("apply", 1))), draw(make())) > 10


def split(make, loras, **inputs):
    return make({"stack": stack(make, loras), "split": make.node(
        "LoraBootstrap_TimeSplit", clip=["base", 1], LORA_STACK=["stack", 0], **inputs)}, clip=("split", 0))


@pytest.mark.parametrize("schedule_clip", [False, True])
def test_a_split_in_time_is_another_picture_and_with_level_curves_the_same(make, loras, draw, schedule_clip):
    both = draw(chained(make, loras))
    level = {"preset": "custom", "schedule_clip": schedule_clip, **dict.fromkeys(
        ("character_start", "character_end", "style_start", "style_end"), 1.0)}
    assert apart(draw(split(make, loras, **level)), both) <= CLOSE
    pictures = [draw(split(make, loras, preset=preset, schedule_clip=schedule_clip))
                for preset in ("character first", "style first", "style fades")]
    assert all(apart(one, both) > CLOSE for one in pictures)
    assert apart(pictures[0], pictures[1]) > CLOSE


def test_a_style_that_is_off_all_the_time_leaves_the_character_alone(make, loras, draw):
    alone = draw(make({HERO: make.node("LoraLoader", model=["base", 0], clip=["base", 1], lora_name=loras[HERO],
                                       strength_model=1.0, strength_clip=1.0)}, (HERO, 0), (HERO, 1)))
    off = {"preset": "custom", "schedule_clip": True, "character_end": 1.0, "style_start": 0.0, "style_end": 0.0}
    assert apart(draw(split(make, loras, **off)), alone) <= CLOSE
    late = draw(split(make, loras, **off | {"style_end": 1.0}))
    assert CLOSE < apart(late, alone), "the style comes in later"


def test_the_curve_is_a_picture(tab, make, loras):
    run = succeeded(tab.run({**split(make, loras), "curve": make.node("PreviewImage", images=["split", 1])}))
    assert len(run.images("curve")) == 1
