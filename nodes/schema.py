"""How a node is offered: what a stranger types to find it, and which of its widgets are in sight. The others are folded
behind *Show advanced inputs*, so that the node's panel is in sight too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..host.compat import fold_input, set_aliases

ALL = ("*",)
"""No widget is folded."""
PREFIX = "LoraBootstrap_"


@dataclass(frozen=True)
class Offer:
    """How one node is offered.

    Attributes:
        found_by: what the search box finds it by, besides its name, in lower case.
        in_sight: ids of the widgets that are not folded.
    """

    found_by: tuple[str, ...]
    in_sight: tuple[str, ...] = ALL


OFFERS = {
    "LoadSandbox": Offer(("demo model", "toy model", "example checkpoint", "try without downloads")),
    "LoadDataset": Offer(("load images", "image folder", "training images", "dataset folder", "directory"),
                         ("folder", "trigger")),
    "CropPicture": Offer(("crop image", "one image dataset", "split picture", "face crop"), ("tags", "count")),
    "DatasetFromImages": Offer(("images to dataset", "make dataset", "image batch to dataset")),
    "MergeDatasets": Offer(("combine datasets", "join datasets", "concat dataset")),
    "SplitDataset": Offer(("validation split", "holdout", "train test split"), ("fraction",)),
    "AuditDataset": Offer(("check dataset", "find duplicates", "dataset quality", "near duplicates"),
                          ("family", "purpose", "trigger")),
    "PrepareDataset": Offer(("upscale dataset", "crop images", "resize images", "bucket", "remove background",
                             "preprocess"), ("name", "family", "crop")),
    "SaveDataset": Offer(("export dataset", "kohya folder", "write captions")),
    "PreviewDataset": Offer(("view dataset", "show images", "dataset gallery"), ("shown",)),
    "TagImages": Offer(("wd14 tagger", "wd14", "booru", "danbooru", "auto tag", "interrogate", "deepdanbooru"),
                       ("tagger", "download", "exclude")),
    "CaptionImages": Offer(("joycaption", "florence", "florence2", "blip", "auto caption", "vlm", "describe image"),
                           ("captioner", "detail", "trigger")),
    "EditTags": Offer(("tag editor", "caption editor", "booru dataset tag manager", "remove tags", "replace tags"),
                      ("trigger", "add", "remove")),
    "AbsorbTags": Offer(("prune tags", "identity tags", "trigger word", "drop tags"),
                        ("purpose", "trigger", "decisions")),
    "TagStatistics": Offer(("tag count", "tag frequency", "token count"), ("trigger",)),
    "TrainSettings": Offer(("optimizer", "hyperparameters", "prodigy", "learning rate schedule"), (
        "optimizer", "schedule", "layers", "text_encoder", "precision", "caption_dropout", "flip",
        "validation_fraction", "save_every", "preview_every", "preview_prompts", "fit_memory")),
    "TrainLora": Offer(("train", "lora", "lora trainer", "train character", "finetune", "kohya", "dreambooth",
                        "ai-toolkit"), ("name", "trigger", "kind", "steps", "epochs")),
    "FineTune": Offer(("full fine-tune", "train checkpoint", "train unet", "dreambooth", "train model"),
                      ("name", "trigger", "kind", "steps", "epochs", "save")),
    "LoadRun": Offer(("open training", "finished training", "training run")),
    "PickCheckpoint": Offer(("choose step", "select epoch", "best checkpoint")),
    "Project": Offer(("one image lora", "character from one picture", "single image", "bootstrap"),
                     ("tags", "trigger", "name")),
    "ViewPrompts": Offer(("character views", "turnaround", "pose prompts", "prompt list", "edit instructions",
                          "camera angles"), ("round", "count")),
    "SaveCandidates": Offer(("save images", "generated dataset", "candidate images"), ()),
    "LoadCandidate": Offer(("repair image", "inpaint candidate", "fix image", "detailer", "load image")),
    "SaveRepaired": Offer(("keep repaired", "save inpainted", "fixed image", "repaired candidate")),
    "CurateImages": Offer(("image picker", "select images", "image filter", "curate", "choose images", "cull"),
                          ("round", "mode", "keep")),
    "RoundDataset": Offer(("picked images", "kept images", "dataset of a round")),
    "SamplingByModel": Offer(("ksampler settings", "sampler settings", "default steps", "image size")),
    "StrengthGrid": Offer(("xy plot", "xyz plot", "compare", "grid", "lora weight", "test lora"),
                          ("strengths", "prompts", "seeds")),
    "CheckpointSweep": Offer(("xy plot", "xyz plot", "compare", "grid", "compare epochs", "test lora"),
                             ("checkpoints", "strengths", "prompts", "seeds")),
    "SweepValues": Offer(("xy plot", "xyz plot", "compare", "grid", "xy input", "loop values"),
                         ("strengths", "prompts", "seeds")),
    "ComposeGrid": Offer(("xy plot", "image grid", "contact sheet", "labelled sheet"), ("rows", "columns", "title")),
    "ScoreSweep": Offer(("rank checkpoints", "best lora", "evaluate", "rate images"), ("kind",)),
    "RefineStrengths": Offer(("best strength", "tune weights", "optimize strengths", "auto strength"), (
        "prompts", "seeds", "character_strengths", "style_strengths")),
    "LoraStack": Offer(("lora", "lora loader", "power lora", "power lora loader", "multi lora", "load loras")),
    "ApplyLoraStack": Offer(("lora loader", "load loras", "apply lora")),
    "PromptLoras": Offer(("lora from prompt", "lora tag loader", "a1111 lora", "<lora:name:1>"), ("text",)),
    "ConflictReport": Offer(("lora conflict", "compare loras", "loras clash", "lora overlap")),
    "MergeLoras": Offer(("combine loras", "lora merge", "dare", "ties", "svd merge"), ("method", "preset", "name")),
    "ExtractLora": Offer(("save lora", "lora from checkpoint", "checkpoint to lora", "svd", "model difference",
                          "kohya extract"), ("name", "rank", "preset")),
    "ResizeLora": Offer(("shrink lora", "lora rank", "smaller lora", "compress lora", "loha to lora", "lokr to lora"),
                        ("lora", "name", "rank", "rule", "target")),
    "ReleaseLora": Offer(("publish lora", "share lora", "model card", "civitai", "hugging face", "upload lora"),
                         ("lora", "name", "title", "version", "licence", "person")),
    "ExportJob": Offer(("rent gpu", "runpod", "colab", "cloud training", "train remotely", "pack training"),
                       ("name", "trigger", "kind", "steps", "epochs", "prompts", "price", "card")),
    "ImportResult": Offer(("import training", "import lora", "cloud result", "load result", "runpod", "colab")),
    "TimeSplit": Offer(("lora schedule", "lora timestep", "lora hook", "timed lora"), ("preset",)),
    "ProveModel": Offer(("check model", "can it train", "dry run", "test training"), ("steps",)),
}
"""By node id, without its prefix. Nodes that only other nodes add to a workflow have no row."""

VALUES = ("BOOLEAN", "COMBO", "FLOAT", "INT", "STRING")
"""Types of inputs that are widgets; all others are sockets, which are never folded."""


def node_schema(node_id: str, inputs: Sequence[Any] = (), **more: Any) -> io.Schema:
    """The node's schema, offered as its row of `OFFERS` says."""
    inputs, offer = list(inputs), OFFERS.get(node_id.removeprefix(PREFIX))
    schema = io.Schema(node_id=node_id, inputs=inputs, **more)
    if offer is None:
        return schema
    set_aliases(schema, offer.found_by)
    for widget in folded(inputs, offer):
        fold_input(widget)
    return schema


def folded(inputs: Sequence[Any], offer: Offer) -> list[Any]:
    """The widgets that are not in sight."""
    return [one for one in inputs
            if offer.in_sight != ALL and one.io_type in VALUES and one.id not in offer.in_sight
            and not getattr(one, "force_input", None)]
