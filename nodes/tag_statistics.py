"""The node that counts tags, and checks whether the trigger is a good one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..host import menu
from ..host.drawing.pictures import to_batch
from ..host.working import COLUMN, Work, show_report
from ..trainer.captions.tags import split_tags
from ..trainer.tagging.statistics import frequency_chart, tag_statistics
from ..trainer.tagging.trigger_check import TriggerReport, check_trigger
from .schema import node_schema
from .sockets import LoraDataset


class TagStatisticsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_TagStatistics", display_name="Tag Statistics", category=menu.CAPTIONS,
            description="Shows how often each tag occurs, which tags come together, which images lack the trigger, "
                        "and, with model, clip and vae, whether the trigger already has a meaning to the base model.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.String.Input("trigger", default="", tooltip=(
                    "The word that every caption should contain. Leave empty to skip this check.")),
                io.Int.Input("most", default=30, min=1, max=1000, tooltip="Number of tags in the table and chart."),
                io.Model.Input("model", optional=True, tooltip=(
                    "The base model. With clip and vae, the trigger's meaning to it is measured.")),
                io.Clip.Input("clip", optional=True, tooltip=(
                    "The text encoder. Alone, only the trigger's tokens are shown.")),
                io.Vae.Input("vae", optional=True),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The same dataset."),
                io.String.Output(display_name="report", tooltip="The trigger's verdict, notes, and the table."),
                io.Image.Output(display_name="chart"),
                io.String.Output(display_name="lacking", tooltip=(
                    "Names of the files whose caption lacks the trigger, one per line.")),
            ],
        )

    @classmethod
    def execute(cls, dataset, trigger, most, model=None, clip=None, vae=None) -> io.NodeOutput:
        counts = tag_statistics(dataset, trigger)
        verdicts = trigger_lines(trigger, model, clip, vae, cls.hidden.unique_id)
        report, shown = ("\n".join((*verdicts, counts.text(most, gap))) for gap in ("  ", COLUMN))
        chart = to_batch(frequency_chart(counts, most))
        show_report(shown, cls.hidden.unique_id)
        return io.NodeOutput(dataset, report, chart, "\n".join(path.name for path in counts.lacking_trigger),
                             ui=ui.PreviewImage(chart, cls=cls))


def trigger_lines(trigger: str, model: Any, clip: Any, vae: Any, node_id: str | None) -> list[str]:
    """A verdict on each word of the trigger."""
    return [trigger_report(word, model, clip, vae, Work(node_id)).text() for word in split_tags(trigger)]


def trigger_report(trigger: str, model: Any, clip: Any, vae: Any, progress: Work) -> TriggerReport:
    """What can be reported about the trigger from the inputs that are linked."""
    pieces = None if clip is None else tokenizer(clip)
    if model is None or clip is None or vae is None:
        return check_trigger(trigger, tokenize=pieces)
    from ..host.backbone.model import HostBackbone

    with torch.inference_mode(False):  # the host runs nodes in a mode whose tensors cannot be copied from here
        return check_trigger(trigger, HostBackbone(model, clip, vae), progress=progress, tokenize=pieces)


def tokenizer(clip: Any) -> Callable[[str], Sequence[str]] | None:
    """A function from a text to its pieces, by the CLIP's first tokenizer that can name them; None if none can."""
    def pieces(text: str) -> list[str]:
        name, chunks = next(iter(clip.tokenize(text, return_word_ids=True).items()))
        tokens = [token for chunk in chunks for token in chunk if token[-1] != 0]
        named = getattr(clip.tokenizer, name, None) or getattr(clip.tokenizer, f"clip_{name}", clip.tokenizer)
        return [piece for _, piece in named.untokenize(tokens)]

    return pieces if hasattr(clip.tokenizer, "untokenize") else None
