"""Merges on disk: what both LoRAs do to a model one file does; what is the same is found again."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.backends.diffusers import load_backbone
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.names import MOST_BYTES
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from lora_bootstrap.trainer.stacks import merge
from lora_bootstrap.trainer.stacks.merge import MergeSettings
from lora_bootstrap.trainer.stacks.merged_file import merge_to_file
from lora_bootstrap.trainer.stacks.stack import StackEntry, join_names
from lora_bootstrap.trainer.training.adapters import select_modules

from ...helpers.lora_files import lora


@pytest.fixture
def two(tmp_path):
    return [StackEntry(path=lora(tmp_path / f"{name}.safetensors", seed), strength=strength)
            for name, seed, strength in (("hero", 1, 0.9), ("ink", 100, 0.6))]


def merged(tmp_path, entries, name="both", **settings):
    return merge_to_file(tmp_path / "merged", name, entries, MergeSettings(**settings))


def random_lora(path, backbone, seed, rank):
    """Of the network and the text encoder, with convolutions, strong enough to be seen."""
    generator, modules = torch.Generator().manual_seed(seed), {}
    for part, network, blocks in (("unet", backbone.network, backbone.family.blocks),
                                  ("text_encoder", backbone.text_network["text_encoder"], ("layers",))):
        for name in select_modules(network, "attention+mlp", blocks, rank):
            module = network.get_submodule(name)
            out, inside = module.weight.shape[0], module.weight[0].numel()
            down = torch.randn(rank, inside, generator=generator) * inside**-0.5
            up = torch.randn(out, rank, generator=generator) * 0.08
            if module.weight.ndim == 4:
                down, up = down.unflatten(1, module.weight.shape[1:]), up[:, :, None, None]
            modules[f"{part}.{name}"] = Factors(down, up, 2.0)
    save_lora(path, LoraWeights(modules))
    return path


def test_one_merged_file_draws_on_the_sandbox_what_both_loras_draw(tmp_path):
    sandbox = load_backbone("sandbox", device="cpu")
    paths = [random_lora(tmp_path / f"{seed}.safetensors", sandbox, seed, 2 + seed) for seed in (1, 2)]
    one = merged(tmp_path, [StackEntry(path=paths[0], strength=0.9), StackEntry(path=paths[1], strength=0.5)])

    def draw():
        return sandbox.generate(["1girl, red eyes"], seeds=[5], width=64, height=64, steps=4, cfg=3.0)

    plain = draw()
    with sandbox.lora(paths[0], 0.9), sandbox.lora(paths[1], 0.5):
        expected = draw()
    with sandbox.lora(one.path) as applied:
        assert not applied.unmatched
        torch.testing.assert_close(draw(), expected, atol=1e-3, rtol=0)
    assert (expected - plain).abs().mean() > 0.01
    sandbox.pipeline.load_lora_weights(str(one.path.parent), weight_name=one.path.name)  # as diffusers' users do
    torch.testing.assert_close(draw(), expected, atol=1e-3, rtol=0)
    sandbox.pipeline.unload_lora_weights()
    torch.testing.assert_close(draw(), plain, atol=1e-4, rtol=0)
    kernels = [row.down.shape[2:] for row in load_lora(one.path).modules.values() if row.down.ndim == 4]
    assert torch.Size([3, 3]) in kernels, "convolutions were among them"


# -- finding again -----------------------------------------------------------------------------------------------------


def test_the_same_merge_is_found_again_though_its_parents_moved(two, tmp_path):
    first = merged(tmp_path, two)
    shutil.copy(two[0].path, tmp_path / "renamed.safetensors")
    again = merged(tmp_path, [StackEntry(path=tmp_path / "renamed.safetensors", strength=0.9), two[1]])
    assert again.reused and not first.reused and again.path == first.path and again.lines == first.lines


def test_what_an_earlier_version_merged_is_merged_again(two, tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "FORMAT", 1)
    old = merged(tmp_path, two)
    monkeypatch.undo()
    new = merged(tmp_path, two)
    assert not new.reused and new.path != old.path


def test_the_same_merge_is_found_again_after_an_identical_training(two, tmp_path):
    """Its file states another time, but has the same weights."""
    first = merged(tmp_path, two)
    later = lora(tmp_path / "later.safetensors", 1, metadata={"ss_training_started_at": "2"})
    assert later.read_bytes() != two[0].path.read_bytes()
    again = merged(tmp_path, [StackEntry(path=later, strength=0.9), two[1]])
    assert again.reused and again.path == first.path


def test_a_merge_of_an_earlier_version_is_found_by_its_parents_bytes(two, tmp_path):
    path = merged(tmp_path, two).path
    told = load_lora(path).metadata
    lineage = json.loads(told["lora_bootstrap.lineage"])
    for parent in lineage["merge"]["parents"]:
        del parent["tensors"]
    save_file(load_file(path), path, {**told, "lora_bootstrap.lineage": json.dumps(lineage)})
    assert merged(tmp_path, two).reused


def test_a_damaged_merge_is_not_reused(two, tmp_path):
    path = merged(tmp_path, two).path
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserError, match="are not those that were saved"):
        merged(tmp_path, two)


def test_what_the_method_does_not_look_at_makes_no_other_merge(two, tmp_path):
    assert not merged(tmp_path, two, density=0.3, mu=2.0, preset="style_first").reused
    assert merged(tmp_path, two).reused
    assert not merged(tmp_path, two, method="null_space").reused
    assert not merged(tmp_path, two, method="null_space", mu=2.0).reused


@pytest.mark.parametrize("change", [
    {"strength": 0.8}, {"clip_strength": 0.1}, {"role": "style"}])
def test_another_strength_or_role_is_another_merge(two, tmp_path, change):
    merged(tmp_path, two)
    other = StackEntry(**{"path": two[0].path, "strength": 0.9, **change})
    assert merged(tmp_path, [other, two[1]]).path.name == "both-2.safetensors"


def test_a_lora_that_is_off_is_not_told_of(two, tmp_path):
    merged(tmp_path, two)
    off = StackEntry(path=lora(tmp_path / "off.safetensors", 7), strength=0.0, clip_strength=0.0)
    assert merged(tmp_path, [*two, off]).reused


def test_each_of_several_merges_of_a_name_is_found_again(two, tmp_path):
    paths = [merged(tmp_path, two, rank=rank).path for rank in (None, 1, 2)]
    assert [merged(tmp_path, two, rank=rank).path for rank in (None, 1, 2)] == paths
    assert sorted(os.listdir(tmp_path / "merged")) == ["both-2.safetensors", "both-3.safetensors", "both.safetensors"]


@pytest.mark.parametrize("text", ["not json", "[]", '{"merge": 3}', '{"merge": {"parents": []}}', '{"train": {}}'])
def test_a_file_with_another_lineage_is_no_merge_of_ours(two, tmp_path, text):
    (tmp_path / "merged").mkdir()
    lora(tmp_path / "merged" / "both.safetensors", 9, metadata={"lora_bootstrap.lineage": text})
    assert merged(tmp_path, two).path.name == "both-2.safetensors"


def test_what_is_stopped_half_way_leaves_nothing(two, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_to_file(tmp_path / "merged", "both", two, progress=stop)
    assert not (tmp_path / "merged").exists()


def test_a_missing_parent_is_told(two, tmp_path):
    with pytest.raises(UserError, match="gone.safetensors"):
        merged(tmp_path, [two[0], StackEntry(path=tmp_path / "gone.safetensors")])


def test_names_are_joined_to_one_that_a_file_can_have():
    assert join_names(["hero", "ink"]) == "hero+ink"
    assert join_names(["a/final", "b:c"]) == "a_final+b_c"
    assert join_names([".."]) == "loras" and join_names([]) == "loras"
    assert len(join_names(["x" * 200, "y"])) == MOST_BYTES
    assert join_names(["赤" * 90]) == "赤" * 40


@pytest.mark.parametrize(("strengths", "files"), [((0.9, 0.3), 2), ((0.9, 0.9), 1)])
def test_of_two_merges_of_one_name_at_once_each_user_is_handed_the_own_one(tmp_path, two, strengths, files):
    """The second merge is made while the first is at work, which is when the name was lost."""
    first, second = (
        [StackEntry(path=two[0].path, strength=strength), StackEntry(path=two[1].path, strength=0.7)]
        for strength in strengths)
    paths = []

    def meanwhile(done, count):
        if not paths:
            paths.append(merged(tmp_path, second).path)

    paths.append(merge_to_file(tmp_path / "merged", "both", first, MergeSettings(), progress=meanwhile).path)
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == sorted({path.name for path in paths})
    assert len(set(paths)) == files
    for path, (strength, _) in zip(paths[::-1], zip(strengths, strengths, strict=True), strict=True):
        lineage = json.loads(load_lora(path).metadata["lora_bootstrap.lineage"])
        assert lineage["merge"]["parents"][0]["strength"] == strength
