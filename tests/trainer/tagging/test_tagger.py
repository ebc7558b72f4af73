"""ONNX taggers: what reaches the model, to the pixel; batches; what is refused; and tagging a dataset.

The models are made here: each gives back the very pixels it was given, as its scores.
"""

import json

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Progress, Warned
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample, load_folder
from lora_bootstrap.trainer.tagging.choice import TagChoice
from lora_bootstrap.trainer.tagging.tagger import (
    DatasetTagged,
    OnnxTagger,
    open_tagger,
    release_tagger,
    tag_dataset,
    tag_pictures,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

SIDE = 4
COUNT = SIDE * SIDE * 3
RED, GREEN, BLUE = (200, 10, 30), (20, 180, 40), (5, 60, 220)


def save_model(folder, shape, outputs=("output",), scale=1.0, shift=0.0, dtype=FLOAT, count=COUNT):
    """A model that gives `pixels * scale + shift`, flat, under each of the output names."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [helper.make_node("Cast", ["input"], ["f"], to=FLOAT), helper.make_node("Flatten", ["f"], ["flat"]),
             helper.make_node("Mul", ["flat", "scale"], ["scaled"])]
    nodes += [helper.make_node("Add", ["scaled", "shift"], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("input", dtype, shape)],
        [helper.make_tensor_value_info(name, FLOAT, [shape[0], count]) for name in outputs],
        [helper.make_tensor(name, FLOAT, [], [value]) for name, value in (("scale", scale), ("shift", shift))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def save_csv(folder, count=COUNT):
    rows = [f"{i},tag_{i},{4 if i == 1 else 9 if i == 2 else 0},1" for i in range(count)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]) + "\n")
    return folder


def save_json(folder):
    labels = {str(i): {"tag": f"tag_{i}", "category": "General"} for i in range(COUNT)}
    (folder / "tag_mapping.json").write_text(json.dumps(labels))
    return folder


def wd(folder, batch="N", **options):
    return save_csv(save_model(folder, [batch, SIDE, SIDE, 3], scale=1 / 255, **options))


def wide():
    """4 x 2 pixels: two red columns, then two green ones."""
    image = Image.new("RGB", (4, 2), RED)
    image.paste(GREEN, (2, 0, 4, 2))
    return image


def as_given(tagger, picture):
    """The input the model saw, from the scores it gave back."""
    return tagger.scores([picture])[0]


# -- preprocessing ---------------------------------------------------------------------------------------------------


def padded(colours):
    """[4, 4, 3]: `wide` in the middle of white, its colours as given."""
    square = np.full((SIDE, SIDE, 3), 255, np.float32)
    square[1:3, :2], square[1:3, 2:] = colours
    return square


def test_wd_gets_white_bars_bgr_and_plain_numbers_channels_last(tmp_path):
    seen = as_given(OnnxTagger(wd(tmp_path / "m")), wide()) * 255
    assert np.abs(seen.reshape(SIDE, SIDE, 3) - padded((RED[::-1], GREEN[::-1]))).max() < 1e-3


def test_cl_gets_white_bars_bgr_from_minus_one_to_one_channels_first_and_gives_logits(tmp_path):
    tagger = OnnxTagger(save_json(save_model(tmp_path / "m", ["N", 3, SIDE, SIDE])))
    scores = as_given(tagger, wide()).astype(np.float64)
    seen = np.log(scores / (1 - scores)).reshape(3, SIDE, SIDE).transpose(1, 2, 0)
    assert tagger.layout.name == "cl" and tagger.thresholds["character"] == 0.6
    assert np.abs(seen - (padded((RED[::-1], GREEN[::-1])) / 127.5 - 1)).max() < 1e-5


@pytest.mark.parametrize(("outputs", "scale", "shift"), [
    (("embedding", "logits", "prediction"), 0.5, 0.5),
    (("logits",), 1.0, 0.0),
])
def test_pixai_gets_stretched_rgb_and_prediction_is_read_before_logits(tmp_path, outputs, scale, shift):
    tagger = OnnxTagger(save_csv(save_model(tmp_path / "m", ["N", 3, SIDE, SIDE], outputs, scale, shift)))
    scores = as_given(tagger, wide()).astype(np.float64)
    seen = scores * 2 - 1 if "prediction" in outputs else np.log(scores / (1 - scores))
    expected = np.asarray(wide().resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
    assert tagger.layout.name == "pixai" and tagger.thresholds["general"] == 0.30
    assert np.abs(seen.reshape(3, SIDE, SIDE).transpose(1, 2, 0) - expected).max() < 1e-5
    assert expected[0, 0, 0] == pytest.approx(RED[0] / 127.5 - 1)


def test_an_odd_pixel_of_padding_falls_right_and_below(tmp_path):
    image = Image.new("RGB", (1, SIDE), BLUE)
    seen = (as_given(OnnxTagger(wd(tmp_path / "m")), image) * 255).reshape(SIDE, SIDE, 3)
    assert np.abs(seen[:, 1] - BLUE[::-1]).max() < 1e-3 and (seen[:, [0, 2, 3]] > 254.9).all()


def test_a_large_picture_is_shrunk_by_its_mean_and_a_square_one_of_the_right_size_left_alone(tmp_path):
    tagger = OnnxTagger(wd(tmp_path / "m"))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    assert np.abs(as_given(tagger, noise) * 255 - np.asarray(noise)[..., ::-1].reshape(-1)).max() < 1e-3
    checks = np.indices((64, 64)).sum(0) .astype(np.uint8) % 2 * 255
    grey = as_given(tagger, Image.fromarray(np.stack([checks] * 3, -1))) * 255
    assert np.abs(grey - 127.5).max() < 4  # without antialiasing it would be 0 or 255


def test_the_inputs_type_is_the_models_own(tmp_path):
    for number, dtype in enumerate((onnx.TensorProto.FLOAT16, onnx.TensorProto.UINT8, onnx.TensorProto.DOUBLE)):
        seen = as_given(OnnxTagger(wd(tmp_path / str(number), dtype=dtype)), wide()) * 255
        assert np.abs(seen.reshape(SIDE, SIDE, 3) - padded((RED[::-1], GREEN[::-1]))).max() < 0.2


def test_a_layout_file_overrules_what_was_read_from_the_model(tmp_path):
    folder = wd(tmp_path / "m")
    (folder / "layout.json").write_text(json.dumps({"order": "RGB", "fit": "stretch", "general": 0.1}))
    tagger = OnnxTagger(folder)
    assert np.abs(as_given(tagger, Image.new("RGB", (9, 3), RED)).reshape(-1, 3) * 255 - RED).max() < 1e-3
    assert tagger.thresholds["general"] == 0.1 and tagger.thresholds["character"] == 0.85


def test_means_and_deviations_of_a_channel_are_taken_out(tmp_path):
    folder = save_csv(save_model(tmp_path / "m", ["N", 3, SIDE, SIDE], scale=0.1, shift=0.5))
    (folder / "layout.json").write_text(json.dumps({"axes": "NCHW", "mean": [200, 10, 0], "std": [100, 100, 10]}))
    seen = (as_given(OnnxTagger(folder), Image.new("RGB", (4, 4), RED)) - 0.5) * 10
    assert np.abs(seen.reshape(3, -1) - np.array([[0], [0], [3]])).max() < 1e-4


# -- batches, sessions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["N", 1, 2, 3])
def test_batches_equal_single_pictures_whatever_batch_the_model_is_fixed_to(tmp_path, batch):
    rng = np.random.default_rng(1)
    pictures = [Image.fromarray(rng.integers(0, 256, (5 + i, 9, 3), dtype=np.uint8)) for i in range(5)]
    tagger = OnnxTagger(wd(tmp_path / "m", batch))
    together = tagger.scores(pictures)
    assert together.shape == (5, COUNT)
    assert np.array_equal(together, np.concatenate([tagger.scores([picture]) for picture in pictures]))
    assert tagger.scores([]).shape == (0, COUNT)


def test_pictures_are_taken_from_a_stream_a_batch_at_a_time(tmp_path):
    taken = []

    def stream():
        for number in range(7):
            taken.append(number)
            yield wide()

    tags = tag_pictures(OnnxTagger(wd(tmp_path / "m")), stream(), batch=3)
    next(tags)
    assert taken == [0, 1, 2]
    assert len(list(tags)) == 6


def test_a_tagger_is_kept_until_its_files_change_or_it_is_released(tmp_path):
    wd(tmp_path / "m")
    first = open_tagger("m", tmp_path)
    assert open_tagger("m", tmp_path) is first and open_tagger(tmp_path / "m") is first
    (tmp_path / "m" / "layout.json").write_text('{"general": 0.2}')
    second = open_tagger("m", tmp_path)
    assert second is not first and second.thresholds["general"] == 0.2
    release_tagger()
    assert open_tagger("m", tmp_path) is not second


def test_the_cpu_is_used_where_nothing_better_is_and_an_absent_provider_is_told(tmp_path):
    assert OnnxTagger(wd(tmp_path / "m")).provider == "CPUExecutionProvider"
    with pytest.raises(UserError, match="unknown onnxruntime provider 'CUDAExecutionProvide'"):
        OnnxTagger(tmp_path / "m", providers=["CUDAExecutionProvide"])


def test_a_provider_that_fails_gives_way_to_the_cpu_with_a_note(tmp_path, monkeypatch):
    import onnxruntime

    real = onnxruntime.InferenceSession

    def session(path, options, providers):
        if providers[0] != "CPUExecutionProvider":
            raise RuntimeError("libcudnn.so.9: cannot open shared object file")
        return real(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers",
                        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    tagger = OnnxTagger(wd(tmp_path / "m"))
    assert tagger.provider == "CPUExecutionProvider" and "libcudnn.so.9" in tagger.notes[0]
    assert tagger.scores([wide()]).shape == (1, COUNT)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_damaged_models_are_told_in_one_line(tmp_path):
    whole = (wd(tmp_path / "whole") / "model.onnx").read_bytes()
    for number, data in enumerate((b"", b"not a model", whole[: len(whole) // 2], b"<html>404</html>")):
        folder = save_csv(save_model(tmp_path / str(number), ["N", SIDE, SIDE, 3]))
        (folder / "model.onnx").write_bytes(data)
        with pytest.raises(UserError, match="cannot be loaded") as caught:
            OnnxTagger(folder)
        assert "\n" not in str(caught.value)


def test_labels_of_another_model_are_told(tmp_path):
    folder = save_csv(save_model(tmp_path / "m", ["N", SIDE, SIDE, 3]), count=COUNT - 1)
    with pytest.raises(UserError, match="m has 47 labels.*output \\(48\\)"):
        OnnxTagger(folder)
    folder = save_csv(save_model(tmp_path / "free", ["N", "H", "W", 3], count="L"), count=COUNT - 1)
    (folder / "layout.json").write_text(json.dumps({"side": SIDE}))
    with pytest.raises(UserError, match="gives 48 scores, but its label file names 47"):
        OnnxTagger(folder).scores([wide()])


def test_values_that_are_no_probabilities_are_told(tmp_path):
    folder = save_csv(save_model(tmp_path / "m", ["N", SIDE, SIDE, 3]))
    with pytest.raises(UserError, match="from 10 to 255, not probabilities.*sigmoid"):
        OnnxTagger(folder).scores([wide()])
    (folder / "model.onnx").unlink()
    save_model(folder, ["N", SIDE, SIDE, 3], scale=float("nan"))
    (folder / "hashes.json").unlink()
    with pytest.raises(UserError, match="not probabilities"):
        OnnxTagger(folder).scores([wide()])


@pytest.mark.parametrize(("shape", "layout", "words"), [
    (["N", 3, SIDE, SIDE], None, "cannot tell how m takes its images.*layout.json"),
    (["N", 3, SIDE, 3], None, "cannot tell how m"),
    (["N", 3, SIDE, SIDE], {"layout": "wdd"}, "Did you mean 'wd'"),
    (["N", 3, SIDE, SIDE], {"layout": ["wd"]}, r"layout in .*\['wd'\]"),
    (["N", 3, SIDE, SIDE], {"layout": "wd"}, "which is NCHW, not NHWC"),
    (["N", SIDE, SIDE, 3], {"ordr": "RGB"}, "Did you mean 'order'"),
    (["N", SIDE, SIDE, 3], {"order": "GBR"}, "order 'GBR'.*RGB or BGR"),
    (["N", SIDE, SIDE, 3], {"std": 0}, "std 0.0 of a tagger's layout"),
    (["N", SIDE, SIDE, 3], {"mean": "x"}, "mean is 'x'; it must be a number or a list"),
    (["N", SIDE, SIDE, 3], {"side": 0.5}, "side is 0.5"),
    (["N", SIDE, SIDE, 3], ["wd"], "must hold one JSON object"),
    (["N", 2, 8, 3], None, "images of 8 x 2; only square ones"),
    ([COUNT], None, "a tagger takes one batch of images"),
])
def test_models_of_unknown_kind_and_wrong_layouts_are_told(tmp_path, shape, layout, words):
    folder = save_csv(save_model(tmp_path / "m", shape))
    if layout is not None:
        (folder / "layout.json").write_text(json.dumps(layout))
    with pytest.raises(UserError, match=words):
        OnnxTagger(folder)


# -- datasets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("a", RED), ("b", GREEN), ("c", BLUE)):
        Image.new("RGB", (SIDE, SIDE), colour).save(folder / f"{name}.png")
    (folder / "b.txt").write_text("1girl, tag 0, Tag_3")
    return load_folder(folder)


@pytest.fixture
def tagger(tmp_path):
    return OnnxTagger(wd(tmp_path / "taggers" / "m"))


def result(events):
    return list(events)[-1]


def test_a_datasets_captions_are_replaced_by_the_tags_found(pictures, tagger):
    events = list(tag_dataset(pictures, tagger, TagChoice(general=0.5, character=0.5), batch=2))
    assert events[:2] == [Progress("tagging", 2, 3), Progress("tagging", 3, 3)]
    done = events[-1]
    assert isinstance(done, DatasetTagged) and len(done.dataset) == 3
    # red is the last channel of each pixel, green the second; tag 1 is a character, tag 2 the rating
    assert done.dataset.samples[0].caption.startswith("tag 5, tag 8, tag 11")
    assert done.dataset.samples[1].caption.startswith("tag 1, tag 4, tag 7")
    assert done.tags[0].rating.name == "tag 2" and done.tags[0].scores["tag 5"] == pytest.approx(200 / 255, abs=1e-3)


@pytest.mark.parametrize(("merge", "caption"), [
    ("append", "1girl, tag 0, Tag_3, tag 4"), ("prepend", "tag 0, tag 3, tag 4, 1girl"),
    ("keep", "1girl, tag 0, Tag_3"), ("replace", "tag 0, tag 3, tag 4")])
def test_captions_that_are_there_are_merged_as_asked_and_no_tag_comes_twice(pictures, tagger, merge, caption):
    tagger.scores = lambda batch: np.float32([[i in (0, 3, 4) for i in range(COUNT)]] * len(batch))
    done = result(tag_dataset(pictures, tagger, merge=merge))
    assert done.dataset.samples[1].caption == caption and done.dataset.samples[0].caption == "tag 0, tag 3, tag 4"
    assert (done.tags[1] is None) == (merge == "keep")


def test_a_picture_that_cannot_be_read_keeps_its_caption_and_is_named(pictures, tagger, tmp_path):
    gone = Sample(tmp_path / "gone.png", (SIDE, SIDE), "my words")
    events = list(tag_dataset(Dataset((*pictures.samples, gone)), tagger))
    assert [event.message for event in events if isinstance(event, Warned)][0].startswith("not tagged: cannot read")
    assert events[-1].dataset.samples[3] == gone and events[-1].tags[3] is None and events[-1].tags[0] is not None


def test_nothing_more_is_tagged_once_the_iterator_is_closed(pictures, tagger):
    asked, scores = [], tagger.scores
    tagger.scores = lambda batch: asked.append(len(batch)) or scores(batch)
    events = tag_dataset(pictures, tagger, batch=1)
    next(events)
    events.close()
    assert asked == [1]


def test_wrong_ways_to_tag_are_told(pictures, tagger):
    with pytest.raises(UserError, match="Did you mean 'append'"):
        next(tag_dataset(pictures, tagger, merge="apend"))
    with pytest.raises(UserError, match="batch is 0"):
        next(tag_dataset(pictures, tagger, batch=0))
    with pytest.raises(UserError, match="batch is 0"):
        next(tag_pictures(tagger, [wide()], batch=0))
