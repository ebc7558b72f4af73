"""Eyes embed pictures to unit length, read tags where they can, and refuse what is no eye."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.measures.eyes import SandboxEye, TaggerEye, TransformersEye, open_eye

PIXELS = torch.rand(3, 3, 48, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    from lora_bootstrap.sandbox import BASE_DIR

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = CLIPTokenizer.from_pretrained(BASE_DIR / "tokenizer")
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
        vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28,
                             patch_size=14)).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind, width", [("clip", 16), ("dino", 32)])
def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(kind, width, request):
    eye = TransformersEye(request.getfixturevalue(kind))
    rows = eye.embed(PIXELS)
    assert rows.shape == (3, width)
    assert rows.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert torch.allclose(eye.embed(PIXELS[1:2]), rows[1:2], atol=1e-5)


def test_clip_reads_tags_as_probabilities_and_dino_reads_none(clip, dino):
    read = TransformersEye(clip).read_tags(PIXELS, ["red hair", "smile"])
    assert read.shape == (3, 2) and ((read > 0) & (read < 1)).all()
    assert TransformersEye(dino).read_tags(PIXELS, ["smile"]) is None


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(UserError, match="no config.json"):
        TransformersEye(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded"):
        TransformersEye(tmp_path)


def test_a_base_without_an_eye_of_its_own_is_not_measured(clip):
    assert open_eye("/models/some.safetensors") is None
    assert open_eye("/models/some.safetensors", clip).name == clip.name


class RedTagger:
    """Of a tagger what is asked: how red a picture is, twice."""

    name = "red"
    labels = (SimpleNamespace(name="red_hair"), SimpleNamespace(name="1girl"))

    def scores(self, pictures):
        reds = [picture.getpixel((0, 0))[0] / 255 for picture in pictures]
        return np.array([[red, 1 - red] for red in reds], np.float32)


def test_a_tagger_reads_the_tags_for_an_eye_that_sees_likeness_alone():
    eye = TaggerEye(SandboxEye(), RedTagger())
    pixels = torch.zeros(11, 3, 64, 64)
    pixels[9, 0] = 1
    read = eye.read_tags(pixels, ["1girl", "unknown", "Red Hair"])
    assert read[9, [0, 2]].tolist() == [0, 1] and read[0, [0, 2]].tolist() == [1, 0]
    assert read[:, 1].isnan().all() and eye.name == "sandbox judge and tagger red"
    torch.testing.assert_close(eye.embed(pixels), SandboxEye().embed(pixels))
