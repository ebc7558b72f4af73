"""Prose captions: tiny random models of each kind, what they are asked, tidying, and captioning a dataset."""

import numpy as np
import pytest
import torch
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Progress, Warned
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample, load_folder
from lora_bootstrap.trainer.tagging.captioner import (
    Captioner,
    DatasetCaptioned,
    ProseChoice,
    caption_dataset,
    installed_captioners,
    open_captioner,
    release_captioner,
    tidy_caption,
)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a drawing of girl red hair fox tail sky".split()
SHORT = ProseChoice(most_tokens=8)


def noise(count=4, seed=0):
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (20, 30 - i, 3), dtype=np.uint8)) for i in range(count)]


def randomise(model, seed=0):
    """Weights large enough for different pictures to be told apart."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return model


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory):
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    folder = tmp_path_factory.mktemp("captioners") / "tiny-blip"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    small = {"hidden_size": 16, "intermediate_size": 16, "projection_dim": 8, "num_hidden_layers": 1,
             "num_attention_heads": 2}
    config = BlipConfig(
        text_config={**small, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 40,
                     "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0},
        vision_config={**small, "image_size": 16, "patch_size": 8}, projection_dim=8)
    randomise(BlipForConditionalGeneration(config)).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 16, "width": 16}),
                  BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def blip(blip_folder):
    return Captioner(blip_folder, device="cpu")


def word_tokenizer(words, **special):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = list(dict.fromkeys(["<pad>", "<s>", "</s>", "<unk>", "<image>", *words.split()]))
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return len(words), PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>",
                                               eos_token="</s>", unk_token="<unk>", **special)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = tmp_path_factory.mktemp("tiny-llava")
    count, tokenizer = word_tokenizer("USER: ASSISTANT: Describe this picture in one short sentence. girl fox sky",
                                      additional_special_tokens=["<image>"])
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, num_hidden_layers=2, image_size=16, patch_size=8),
        text_config=LlamaConfig(**small, vocab_size=count, num_hidden_layers=1, num_key_value_heads=2, bos_token_id=1,
                                eos_token_id=2, pad_token_id=0),
        image_token_id=4, image_seq_length=4, vision_feature_layer=-1)
    randomise(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    template = ("{% for turn in messages %}USER: {% for part in turn['content'] %}"
                "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
                "{% endfor %} ASSISTANT:{% endfor %}")
    LlavaProcessor(CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}), tokenizer,
                   patch_size=8, vision_feature_select_strategy="default", chat_template=template,
                   num_additional_image_tokens=1).save_pretrained(folder)
    return Captioner(folder, device="cpu")


@pytest.fixture(scope="module")
def florence(tmp_path_factory):
    transformers = pytest.importorskip("transformers", minversion="5.0")
    folder = tmp_path_factory.mktemp("tiny-florence")
    asked = "What does the image describe? Describe in detail what is shown in the image. girl"
    count, tokenizer = word_tokenizer(asked, extra_special_tokens={"image_token": "<image>"})
    config = transformers.Florence2Config(
        text_config={"model_type": "bart", "vocab_size": count, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
                     "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16,
                     "decoder_ffn_dim": 16, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2,
                     "pad_token_id": 0, "decoder_start_token_id": 2},
        vision_config={"embed_dim": [8, 8], "num_heads": [2, 2], "num_groups": [2, 2], "depths": [1, 1],
                       "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1],
                       "patch_prenorm": [False, True], "window_size": 2, "projection_dim": 16,
                       "max_position_embeddings": 8}, image_token_id=4)
    torch.manual_seed(0)
    transformers.Florence2ForConditionalGeneration(config).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    transformers.Florence2Processor(transformers.CLIPImageProcessor(
        size=side, crop_size=side, do_center_crop=False, image_seq_length=17), tokenizer).save_pretrained(folder)
    return Captioner(folder, device="cpu")


# -- models ----------------------------------------------------------------------------------------------------------


def test_a_batch_gets_the_captions_that_single_pictures_get(blip):
    pictures = noise()
    together = blip.captions(pictures, SHORT)
    assert together == [blip.captions([picture], SHORT)[0] for picture in pictures]
    assert len(set(together)) > 1 and all(set(text.split()) <= set(WORDS) for text in together)
    assert blip.captions([]) == []


def test_blips_prompt_is_the_captions_beginning(blip):
    texts = blip.captions(noise(2), ProseChoice(most_tokens=8, prompt="a drawing of"))
    assert all(text.startswith("a drawing of") for text in texts)


def test_a_caption_is_as_long_as_asked(blip):
    counts = [max(len(text.split()) for text in blip.captions(noise(), ProseChoice(most_tokens=n))) for n in (2, 12)]
    assert counts[0] <= 2 < counts[1]


def test_a_model_that_chats_is_asked_in_its_own_form_and_only_its_answer_is_kept(llava):
    pictures = noise()
    texts = llava.captions(pictures, ProseChoice(most_tokens=5, tidy=False))
    assert llava.asking.chat and all(len(text.split()) <= 5 for text in texts)
    assert texts == [llava.captions([picture], ProseChoice(most_tokens=5, tidy=False))[0] for picture in pictures]
    inputs = llava._inputs(pictures[:1], llava.prompt(ProseChoice(detail="short")))
    asked = llava._processor.batch_decode(inputs.input_ids)
    assert "USER: <image>" in asked[0] and asked[0].endswith("in one short sentence. ASSISTANT:")


@pytest.mark.parametrize(("detail", "asked"), [("short", "What does the image describe?"),
                                               ("normal", "Describe in detail what is shown in the image.")])
def test_florence_is_asked_by_the_task_of_each_detail(florence, detail, asked):
    inputs = florence._inputs(noise(2), florence.prompt(ProseChoice(detail=detail)))
    assert asked in florence._processor.batch_decode(inputs.input_ids, skip_special_tokens=True)[1]
    assert len(florence.captions(noise(2), SHORT)) == 2
    with pytest.raises(UserError, match="does not follow a prompt.*short, normal, long"):
        florence.captions(noise(1), ProseChoice(prompt="who?"))


def test_what_is_no_captioner_is_told(tmp_path, blip_folder):
    with pytest.raises(UserError, match="has no config.json"):
        Captioner(tmp_path)
    for text in ("{", '{"model_type": "bert"}', '{"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="cannot be loaded as a captioner") as caught:
            Captioner(tmp_path)
        assert "\n" not in str(caught.value)
    for path in blip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:400 if path.suffix == ".safetensors" else None])
    with pytest.raises(UserError, match="cannot be loaded as a captioner"):
        Captioner(tmp_path)


def test_a_captioner_is_found_by_name_and_kept(blip_folder):
    root = blip_folder.parent
    assert installed_captioners(root) == ("tiny-blip",)
    first = open_captioner("tiny-blip", root, "cpu")
    assert open_captioner("tiny-blip", root, "cpu") is first and open_captioner(blip_folder, device="cpu") is first
    release_captioner()
    assert open_captioner("tiny-blip", root, "cpu") is not first
    with pytest.raises(UserError, match="Did you mean 'tiny-blip'"):
        open_captioner("tinyblip", root)
    with pytest.raises(UserError, match="unknown captioner"):
        open_captioner("../captioners/tiny-blip", root)
    with pytest.raises(UserError, match="has none"):
        open_captioner("x", root / "none")


@pytest.mark.parametrize(("settings", "words"), [
    ({"detail": "lng"}, "Did you mean 'long'"), ({"most_tokens": 0}, "most_tokens is 0"), ({"beams": 0}, "beams is 0")])
def test_a_wrong_setting_is_told(settings, words):
    with pytest.raises(UserError, match=words):
        ProseChoice(**settings)


@pytest.mark.parametrize(("text", "tidy"), [
    ("The image shows a girl. She smiles.", "A girl. She smiles."),
    ("In this picture, we see a girl in a  field\nof grass. She wears a re", "A girl in a field of grass."),
    ("an illustration depicts red hair", "Red hair"), ("a girl of 1.5 m. Blue sky!", "a girl of 1.5 m. Blue sky!"),
    ("a girl with red hair", "a girl with red hair"), ("", "")])
def test_openings_and_sentences_cut_short_are_left_out(text, tidy):
    assert tidy_caption(text) == tidy


def test_openings_stay_on_request():
    assert tidy_caption("The image shows a girl.", openings=False) == "The image shows a girl."


# -- datasets --------------------------------------------------------------------------------------------------------


class Speaker:
    """Says of each picture its colour."""

    def captions(self, pictures, choice=None):
        self.asked = getattr(self, "asked", 0) + len(pictures)
        return [f"A field, all {'red' if picture.getpixel((0, 0))[0] else 'blue'}." for picture in pictures]


@pytest.fixture
def pictures(tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("1girl, red hair")
    return load_folder(tmp_path)


@pytest.mark.parametrize(("merge", "first", "second"), [
    ("replace", "A field, all red.", "A field, all blue."),
    ("tags first", "1girl, red hair, A field, all red.", "A field, all blue."),
    ("prose first", "A field, all red, 1girl, red hair", "A field, all blue."),
    ("keep", "1girl, red hair", "A field, all blue."),
])
def test_tags_and_prose_are_joined_as_asked(pictures, merge, first, second):
    events = list(caption_dataset(pictures, Speaker(), merge=merge))
    assert [sample.caption for sample in events[-1].dataset] == [first, second]
    assert isinstance(events[-1], DatasetCaptioned) and events[-1].prose[1] == "A field, all blue."


def test_the_trigger_comes_before_the_prose_once(pictures):
    events = list(caption_dataset(pictures, Speaker(), merge="tags first", trigger="eiei", batch=1))
    assert [sample.caption for sample in events[-1].dataset] == [
        "eiei, 1girl, red hair, A field, all red.", "eiei, A field, all blue."]
    assert events[:2] == [Progress("captioning", 1, 2), Progress("captioning", 2, 2)]
    again = list(caption_dataset(events[-1].dataset, Speaker(), merge="keep", trigger="eiei"))[-1].dataset
    assert again == events[-1].dataset


def test_a_picture_that_cannot_be_read_is_named_and_keeps_its_caption(pictures, tmp_path):
    gone = Sample(tmp_path / "gone.png", (16, 16), "mine")
    events = list(caption_dataset(Dataset((*pictures.samples, gone)), Speaker()))
    assert any(isinstance(event, Warned) and "not captioned: cannot read" in event.message for event in events)
    assert events[-1].dataset.samples[2] == gone and events[-1].prose[2] is None


def test_it_stops_when_closed_and_wrong_ways_are_told(pictures):
    speaker = Speaker()
    events = caption_dataset(pictures, speaker, batch=1)
    next(events)
    events.close()
    assert speaker.asked == 1
    with pytest.raises(UserError, match="Did you mean 'tags first'"):
        next(caption_dataset(pictures, speaker, merge="tag first"))
    with pytest.raises(UserError, match="batch is 0"):
        next(caption_dataset(pictures, speaker, batch=0))
