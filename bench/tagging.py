"""Tagging with a session that is kept, in batches, against one session per image, as a pack that rebuilds it does.

The models are made here, with random weights, in the shape of the WD v3 taggers (448 px, NHWC, 10,861 tags): what is
compared is the handling, not what is read. Preparation of the pictures is part of the time. Target: at least 3 times.

    python -m lora_bootstrap.bench.tagging [--pictures 24] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..trainer.tagging.tagger import OnnxTagger, open_tagger, release_tagger, tag_pictures
from .report import write_result

TARGET = 3.0
SIDE, LABELS, WIDE = 448, 10_861, 768
WHOLE = 378_536_310
MODELS = (("a tenth of wd-vit-tagger-v3", 4, 96, WHOLE // 10), ("as large as wd-vit-tagger-v3", 7, 384, WHOLE))
"""(name, convolutions, channels of the last one, bytes)."""


def make_model(folder: Path, layers: int, width: int, size: int) -> Path:
    """A convolutional net over pixels, of about `size` bytes, and its label file."""
    import onnx
    from onnx import helper, numpy_helper

    rng, nodes, weights = np.random.default_rng(0), [], []

    def weight(name: str, *shape: int) -> str:
        scale = 1 / np.sqrt(max(1, np.prod(shape[1:])))
        weights.append(numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name))
        return name

    nodes.append(helper.make_node("Transpose", ["input"], ["x0"], perm=[0, 3, 1, 2]))
    before = 3
    for layer in range(layers):
        after, stride = min(width, 16 * 2**layer), 4 if layer == 0 else 2 if layer < 5 else 1
        nodes += [helper.make_node("Conv", [f"x{layer}", weight(f"w{layer}", after, before, 3, 3)], [f"c{layer}"],
                                   strides=[stride, stride], pads=[1, 1, 1, 1]),
                  helper.make_node("Relu", [f"c{layer}"], [f"x{layer + 1}"])]
        before = after
    nodes += [helper.make_node("GlobalAveragePool", [f"x{layers}"], ["pooled"]),
              helper.make_node("Flatten", ["pooled"], ["features"])]
    last, wide = "features", before
    spare = size - 4 * (LABELS * WIDE + sum(int(np.prod(w.dims)) for w in weights))
    for layer in range(max(1, round(spare / (4 * WIDE * WIDE)))):
        nodes += [helper.make_node("MatMul", [last, weight(f"d{layer}", wide, WIDE)], [f"m{layer}"]),
                  helper.make_node("Tanh", [f"m{layer}"], [f"t{layer}"])]
        last, wide = f"t{layer}", WIDE
    weights.append(numpy_helper.from_array(np.full(LABELS, -4, np.float32), "bias"))  # a few dozen tags a picture
    nodes += [helper.make_node("MatMul", [last, weight("head", wide, LABELS)], ["scores"]),
              helper.make_node("Add", ["scores", "bias"], ["logits"]),
              helper.make_node("Sigmoid", ["logits"], ["output"])]
    graph = helper.make_graph(
        nodes, "wd", [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["N", LABELS])], weights)
    folder.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
              str(folder / "model.onnx"))
    rows = [f"{number},tag_{number},{9 if number < 4 else 0},1" for number in range(LABELS)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]))
    return folder


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    small = [Image.fromarray(rng.integers(0, 256, (96, 64, 3), dtype=np.uint8)) for _ in range(count)]
    return [image.resize((832, 1216)) for image in small]


def session_each(folder: Path, images: Sequence[Image.Image]) -> None:
    """What is measured against: the session and the labels are made anew for every picture."""
    for image in images:
        list(tag_pictures(OnnxTagger(folder), [image]))


def kept(batch: int) -> Callable[[Path, Sequence[Image.Image]], None]:
    def run(folder: Path, images: Sequence[Image.Image]) -> None:
        release_tagger()  # so that the one session it makes is part of the time
        list(tag_pictures(open_tagger(folder), images, batch=batch))

    return run


WAYS = {"a session per image": session_each, "kept, one by one": kept(1), "kept, batches of 8": kept(8)}


def measure(folder: Path, images: Sequence[Image.Image], rounds: int) -> dict[str, float]:
    """Way -> images a second, the median of `rounds`; the ways take turns, so that other load falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    session_each(folder, images[:1])  # the file's hash and the disk's cache
    for _ in range(rounds):
        for name, way in WAYS.items():
            started = time.perf_counter()
            way(folder, images)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(images) / statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    images, rows = pictures(arguments.pictures), []
    for name, layers, width, size in MODELS:
        with tempfile.TemporaryDirectory() as temp:
            folder = make_model(Path(temp, "model"), layers, width, size)
            megabytes = (folder / "model.onnx").stat().st_size / 2**20
            speeds = measure(folder, images, arguments.rounds)
        release_tagger()
        base = speeds["a session per image"]
        rows += [{"model": name, "MB": megabytes, "way": way, "images/s": speed, "times": speed / base,
                  "target": TARGET if way == "kept, batches of 8" else ""} for way, speed in speeds.items()]
    note = (f"{arguments.pictures} pictures of 832 x 1216, medians of {arguments.rounds} alternated rounds on the CPU; "
            "the session that is kept is made once within the time. Random weights; the files are warm in the system's "
            "cache. A real model computes longer on each picture, which on a CPU makes the difference smaller.")
    print(write_result("tagging", "Tagging: a kept session against one per image", rows, note).read_text())


if __name__ == "__main__":
    main()
