"""Public reports of other packs' faults, tried in a real ComfyUI server: hidden files, batches, stacks of other packs,
large seeds, --disable-metadata, loops. Nothing is trained: LoRAs have random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.sweeps.cells import Sweep
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run

from ..helpers.lora_files import sandbox_lora
from ..helpers.server import Refused, Server
from ..helpers.serving import pixels

PROBES = '''
from comfy_execution.graph_utils import GraphBuilder

class ProbeRepeat:
    """Expands into that many flips of a latent, one after the other."""
    INPUT_TYPES = classmethod(lambda cls: {"required": {"samples": ("LATENT",), "times": ("INT",)}})
    RETURN_TYPES, FUNCTION = ("LATENT",), "run"

    def run(self, samples, times):
        graph, last = GraphBuilder(), samples
        for _ in range(times):
            last = graph.node("LatentFlip", samples=last, flip_method="y-axis: horizontally").out(0)
        return {"result": (last,), "expand": graph.finalize()}

class ProbeLoopStart:
    """Reads what newer hosts note in the first node of a loop, as their own Start Loop does."""
    INPUT_TYPES = classmethod(lambda cls: {"required": {"samples": ("LATENT",)},
                                           "hidden": {"me": "UNIQUE_ID", "prompt": "DYNPROMPT"}})
    RETURN_TYPES, FUNCTION = ("LATENT",), "run"

    def run(self, samples, me, prompt):
        loop = prompt.get_node(me)
        inside = [prompt.get_node(id) for id in loop["_loop_body"]]
        last = prompt.get_node(loop["_loop_end"])
        assert any([me, 0] in node["inputs"].values() for node in inside), "the loop of another node"
        assert last["inputs"]["samples"][0] in loop["_loop_body"]
        return (samples,)

NODE_CLASS_MAPPINGS = {"ProbeRepeat": ProbeRepeat, "ProbeLoopStart": ProbeLoopStart}
'''
SMALL = {"width": 64, "height": 64, "steps": 2, "cfg": 3.0, "seeds": "7", "prompts": "akane, smile", "strengths": "1",
         "without": False}


@pytest.fixture(scope="module")
def probed(server, tmp_path_factory):
    """A server with nodes of another pack, started with --disable-metadata."""
    base = tmp_path_factory.mktemp("probed")
    (base / "custom_nodes" / "probes").mkdir(parents=True)
    (base / "custom_nodes" / "probes" / "__init__.py").write_text(PROBES)
    with Server(server.host, server.python, base, arguments=("--disable-metadata",)) as found:
        sandbox_lora(base / "models" / "loras" / "peer" / "heroine.safetensors", 1)
        yield found


@pytest.fixture(scope="module")
def loras(server):
    """Two LoRAs among the host's own, and a run of one checkpoint."""
    root = server.base / "models" / "loras" / "peer"
    files = [sandbox_lora(root / f"{name}.safetensors", seed) for seed, name in ((1, "heroine"), (20, "brush"))]
    run = open_run(server.base / "output" / "loras", TrainConfig(name="peer-run", steps=2), key="peer-run")
    sandbox_lora(run.checkpoint_path(2), 40)
    run.close()
    return files


@pytest.fixture
def node(graph):
    return graph.node


def base(node):
    return {"base": node("LoraBootstrap_LoadSandbox", picture="akane")}


def grid(node, name, files="peer/heroine", **inputs):
    return base(node) | {"grid": node(
        "LoraBootstrap_StrengthGrid", model=["base", 0], clip=["base", 1], vae=["base", 2], name=name, files=files,
        **{**SMALL, **inputs})}


def sampler(node, lora, prompt, seed, latent=("empty", 0), strength=1.0):
    return {
        "lora": node("LoraLoader", model=["base", 0], clip=["base", 1], lora_name=lora, strength_model=strength,
                     strength_clip=strength),
        "yes": node("CLIPTextEncode", clip=["lora", 1], text=prompt),
        "no": node("CLIPTextEncode", clip=["lora", 1], text=""),
        "empty": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sample": node("KSampler", model=["lora", 0], positive=["yes", 0], negative=["no", 0],
                       latent_image=list(latent), seed=seed, steps=2, cfg=3.0, sampler_name="euler", scheduler="normal",
                       denoise=1.0),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["base", 2])}


def by_host(server, tab, node, name, latent=("empty", 0), **more):
    """The images that Load LoRA and KSampler make."""
    made = base(node) | sampler(node, name, SMALL["prompts"], 7, latent) | more | {
        "save": node("SaveImage", images=["decode", 0], filename_prefix="peer")}
    return [pixels(server, place) for place in succeeded(tab.run(made)).images("save")]


def own_sampler(node, name, latent=("empty", 0), **more):
    """Sweep Values → the host's nodes → Compose Grid."""
    values = {key: SMALL[key] for key in ("strengths", "seeds", "prompts", "without")}
    return base(node) | sampler(node, ["values", 1], ["values", 3], ["values", 4], latent, ["values", 2]) | {
        "values": node("LoraBootstrap_SweepValues", name=name, files="peer/heroine", **values),
        "grid": node("LoraBootstrap_ComposeGrid", sweep=["values", 0], images=["decode", 0])} | more


def cells_of(server, name):
    """(sweep, the images in its folder, a cell's own first)."""
    sweep = Sweep.load(server.base / "output" / "sweeps" / name)
    paths = sorted(sweep.cells_folder.glob("*.png"), key=lambda path: (len(path.stem), path.stem))
    return sweep, [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def succeeded(result):
    assert result.status == "success", result.error
    return result


def test_a_run_is_not_drawn_with_another_file_of_its_name(server, tab, node, loras):
    """https://github.com/willmiao/ComfyUI-Lora-Manager/issues/917
    https://github.com/willmiao/ComfyUI-Lora-Manager/issues/303"""
    hiding = sandbox_lora(server.base / "models" / "loras" / "peer-run" / "peer-run-step000002.safetensors", 60)
    run = {"run": node("LoraBootstrap_LoadRun", run="peer-run")}
    pick = {"pick": node("LoraBootstrap_PickCheckpoint", run=["run", 0]),
            "apply": node("LoraBootstrap_ApplyLoraStack", model=["base", 0], clip=["base", 1], LORA_STACK=["pick", 1]),
            "lora": node("LoraLoader", model=["apply", 0], clip=["apply", 1], lora_name="peer/brush.safetensors")}
    stack = base(node) | run | sampler(node, "peer/brush.safetensors", "akane", 7) | pick | {
        "save": node("SaveImage", images=["decode", 0], filename_prefix="peer")}
    swept = grid(node, "hidden", files="", run=["run", 0]) | run
    for made in (swept, stack):
        told = tab.run(made)
        assert told.status == "error" and str(hiding) in told.error and "peer-run-step000002" in told.error
    hiding.unlink()
    succeeded(tab.run(swept))
    _, (drawn,) = cells_of(server, "hidden")
    (expected,) = by_host(server, tab, node, "peer-run/peer-run-step000002.safetensors")
    np.testing.assert_array_equal(drawn, expected)
    succeeded(tab.run(stack))


@pytest.mark.parametrize("stack", [
    [["None", 1.0, 1.0], ["peer/heroine.safetensors", 1.0, 1.0]], [[None, 1.0, 1.0], ["heroine", "1.0", "1"]],
    ["", ["peer\\heroine", "1", 1]]])
def test_a_stack_of_another_pack_draws_in_every_node(server, tab, node, loras, stack):
    """https://github.com/LucianoCirino/efficiency-nodes-comfyui/issues/57"""
    given = {"__value__": stack}
    succeeded(tab.run(grid(node, "given", files="", LORA_STACK=given)))
    succeeded(tab.run(grid(node, "given below", files="peer/brush", LORA_STACK=given)))
    applied = base(node) | {"apply": node("LoraBootstrap_ApplyLoraStack", model=["base", 0], clip=["base", 1],
                                          LORA_STACK=given)}
    ((expected,), (_, images)) = by_host(server, tab, node, "peer/heroine.safetensors"), cells_of(server, "given")
    assert any((image == expected).all() for image in images)
    more = applied | sampler(node, "peer/brush.safetensors", SMALL["prompts"], 7)
    more["lora"]["inputs"] |= {"model": ["apply", 0], "clip": ["apply", 1]}
    (expected,) = by_host(server, tab, node, "", **more)
    assert any((image == expected).all() for image in cells_of(server, "given below")[1])


def test_every_image_of_a_batch_or_a_list_is_kept(server, tab, node, loras):
    """https://github.com/PramaLLC/BEN2_ComfyUI/issues/7, https://github.com/Comfy-Org/ComfyUI/issues/3130"""
    batch = {"many": node("EmptyLatentImage", width=64, height=64, batch_size=3)}
    expected = by_host(server, tab, node, "peer/heroine.safetensors", ("many", 0), **batch)
    one_by_one = {"single": node("RebatchImages", images=["decode", 0], batch_size=1)}
    listed = own_sampler(node, "list", ("many", 0), **batch, **one_by_one)
    listed["grid"]["inputs"]["images"] = ["single", 0]
    for name, made in (("batch", grid(node, "batch", latent=["many", 0]) | batch), ("list", listed),
                       ("own batch", own_sampler(node, "own batch", ("many", 0), **batch))):
        succeeded(tab.run(made))
        sweep, images = cells_of(server, name)
        assert len(sweep.everything) == 1 and len(images) == len(expected) == 3
        for image, other in zip(images, expected, strict=True):
            np.testing.assert_array_equal(image, other)
        said = [text["text"] for text in tab.of_type("progress_text")]
        assert "2 more images of the batches are saved beside the cells" in said[-1]


def test_a_seed_that_a_browser_would_round_is_refused_before_anything_runs(server, tab, node, loras):
    """https://github.com/n0va39/ComfyUI-EasyUseAnima/issues/784"""
    with pytest.raises(Refused, match="must be at most 9007199254740991"):
        tab.queue(grid(node, "rounded", seeds=str(2**53 + 1)))
    succeeded(tab.run(grid(node, "largest", seeds=str(2**53 - 1))))
    sweep, _ = cells_of(server, "largest")
    graph = json.loads(Image.open(sweep.picture(sweep.cells[0])).text["prompt"])
    (seed,) = [made["inputs"]["seed"] for made in graph.values() if made["class_type"] == "KSampler"]
    assert float(seed) == seed == 2**53 - 1


def test_without_metadata_no_prompt_is_in_a_cell_or_the_page(probed, node):
    """https://github.com/Comfy-Org/ComfyUI/issues/6758, https://github.com/alexopus/ComfyUI-Image-Saver/issues/117"""
    with probed.client() as tab:
        for name, made in (("drawn", grid(node, "drawn")), ("own", own_sampler(node, "own"))):
            succeeded(tab.run(made))
            sweep, _ = cells_of(probed, name)
            pictures = [path for path in sweep.folder.rglob("*.png") if Image.open(path).text]
            assert pictures == [] and sweep.counts()["done"] == 1
    page = (probed.base / "output" / "sweeps" / "own" / "grid.html").read_text("utf-8")
    assert "KSampler" not in page and '"prompt"' not in page


def test_nodes_that_expand_and_loops_of_the_host_work_in_a_repeated_part(probed, node):
    """https://github.com/Comfy-Org/ComfyUI/pull/16227"""
    def probe(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    made = own_sampler(node, "looped") | {
        "start": {**probe("ProbeLoopStart", samples=["sample", 0]), "_loop_body": ["twice"], "_loop_end": "end"},
        "twice": probe("ProbeRepeat", samples=["start", 0], times=3),
        "end": probe("LatentFlip", samples=["twice", 0], flip_method="y-axis: horizontally")}
    made["decode"]["inputs"]["samples"] = ["end", 0]
    with probed.client() as tab:
        succeeded(tab.run(made))
        _, (image,) = cells_of(probed, "looped")
        (expected,) = by_host(probed, tab, node, "peer/heroine.safetensors")
        np.testing.assert_array_equal(image, expected)
        made["start"]["_loop_body"] = ["twice", "elsewhere"]
        told = tab.run(made)
    assert told.status == "error" and "the loop that begins at node start is only partly between" in told.error
