"""The node that reports what is wrong with a dataset and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io, ui

from ..host import menu, paths
from ..host.drawing.pictures import to_batch
from ..host.drawing.sampling_figures import DrawnModel
from ..host.eyes import choose_eye
from ..host.working import COLUMN, Work, follow, problem, show_report
from ..trainer.audits.audit import AuditConfig, DatasetAudit, audit
from ..trainer.audits.looks import compares_looks
from ..trainer.audits.report import draw_audit_sheet, table
from ..trainer.captions.coverage import PURPOSES
from ..trainer.common.errors import UserError
from ..trainer.datasets.dataset import Dataset
from ..trainer.measures.eyes import Likeness
from ..trainer.models.families import FAMILIES, get_family
from ..trainer.tagging.tagger import SANDBOX
from .inputs import clip_vision_input
from .schema import node_schema
from .sockets import LoraDataset

LEAVE_OUT = {"nothing": ("", ()), "copies": ("", ("duplicate",)), "faults": ("fault", ()),
             "faults and warnings": ("warning", ())}
"""Which images to leave out: (those with a finding at least this severe, those with a finding of these codes)."""


class AuditDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_AuditDataset", display_name="Audit Dataset", category=menu.DATASET,
            description="Reports what is wrong with each image (size, blur, burn, borders, JPEG, text, copies), what "
                        "the set lacks, and what to do about it. Images are left out only if you set leave_out; the "
                        "report names each one.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.Combo.Input("family", options=list(FAMILIES), default="sdxl", tooltip=(
                    "The model family you will train. It decides how large the images must be.")),
                io.Int.Input("resolution", default=0, min=0, max=8192, step=8, tooltip=(
                    "Training resolution: the side of the square, in pixels. 0 uses the family's own.")),
                io.Combo.Input("purpose", options=list(PURPOSES), default="character", tooltip=(
                    "What you will train. It decides how many images are expected, and of what. bootstrap: the four "
                    "crops of a bootstrap's first round. regularisation: images of the class, without the trigger.")),
                io.String.Input("trigger", default="", tooltip=(
                    "The word that every caption should contain. Leave empty to skip this check.")),
                io.Combo.Input("leave_out", options=list(LEAVE_OUT), default="nothing", tooltip=(
                    "Images to leave out: copies of others, all with faults, or also those with warnings. The report "
                    "names each one with the reason.")),
                io.Int.Input("columns", default=6, min=1, max=16, tooltip="Images per row of the sheet."),
                io.Boolean.Input("copies_only", default=False, tooltip=(
                    "Search for copies alone. This is faster than all checks.")),
                clip_vision_input(),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip=(
                    "The dataset without the images that were left out.")),
                io.Image.Output(display_name="sheet", tooltip=(
                    "Every image, framed in the colour of its worst finding: red for a fault, orange for a warning, "
                    "blue for a note.")),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, resolution) -> bool | str:
        return problem(lambda side: side and AuditConfig(resolution=side), resolution)

    @classmethod
    def describe_plan(cls, values: Mapping[str, Any], model: DrawnModel, settings: Any) -> str:
        """For the route `plan`: the resolution that 0 stands for."""
        if "resolution" not in values or "family" not in values:
            return ""
        return f"will check: for {values['resolution'] or get_family(values['family']).resolution} px"

    @classmethod
    def execute(cls, dataset, family, resolution, purpose, trigger, leave_out, columns,
                copies_only=False, clip_vision=None) -> io.NodeOutput:
        config = AuditConfig(family=family, resolution=resolution or None, purpose=purpose, trigger=trigger.strip(),
                             copies_only=copies_only)
        eye = choose_eye(family == SANDBOX, clip_vision) if compares_looks(config) else None  # it may not load
        found = run_audit(dataset, config, Work(cls.hidden.unique_id), eye)
        rest, reasons = leave_out_findings(found, dataset, leave_out)
        report, shown = ("\n".join((table(found, gap).rstrip(), *reasons)) for gap in ("  ", COLUMN))
        sheet = to_batch(draw_audit_sheet(found, min(columns, max(1, len(dataset)))))
        show_report(advice_first(found, shown), cls.hidden.unique_id)
        return io.NodeOutput(rest, sheet, report, ui=ui.PreviewImage(sheet, cls=cls))


def advice_first(found: DatasetAudit, report: str) -> str:
    """The report with the advice right below its head, because the node shows only the first lines."""
    head, *rest = report.split("\n\n")
    return "\n\n".join((head, *(["\n".join(("Advice", *found.advice))] if found.advice else []), *rest))


def run_audit(dataset: Dataset, config: AuditConfig, work: Work, eye: Likeness | None = None) -> DatasetAudit:
    """The audit of a dataset. Images that were measured before are not measured again."""
    return follow(audit(dataset, config, paths.audits_root() / "measured", eye=eye), work).audit


def leave_out_findings(found: DatasetAudit, dataset: Dataset, leave_out: str) -> tuple[Dataset, list[str]]:
    """(the dataset to pass on, the reasons for the images left out).

    Raises UserError if no image is left.
    """
    rest, reasons = (dataset, ()) if leave_out == "nothing" else found.without(*LEAVE_OUT[leave_out])
    if leave_out != "nothing" and not len(rest):
        raise UserError(f"all {len(found.pictures)} images would be left out ({reasons[0]}). Choose a milder "
                        "leave_out, or add images. With leave_out 'nothing', the report says what is wrong with each.")
    return rest, [reason for reason in reasons if reason]
