"""The node that says what is wrong with a dataset, and what it lacks."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..host import menu, paths
from ..host.drawing.pictures import to_batch
from ..host.working import Work, follow, problem, show_report
from ..trainer.captions.coverage import PURPOSES
from ..trainer.common.errors import UserError
from ..trainer.datasets.audit import AuditConfig, DatasetAudit, audit
from ..trainer.datasets.audit_report import contact_sheet, table
from ..trainer.datasets.dataset import Dataset
from ..trainer.models.families import FAMILIES
from .sockets import LoraDataset

LEAVE_OUT = {"nothing": ("", ()), "copies": ("", ("duplicate",)), "faults": ("fault", ()),
             "faults and warnings": ("warning", ())}
"""What does not go on: (as bad as this, of these codes)."""


class AuditDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_AuditDataset", display_name="Audit Dataset", category=menu.DATASET,
            description="What is wrong with each picture (size, blur, burn, borders, JPEG, text, copies), what the set "
                        "lacks, and what to do about it. Nothing is left out unless you say so, and never silently.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.Combo.Input("family", options=list(FAMILIES), default="sdxl", tooltip=(
                    "The model family to be trained: it says how large pictures must be.")),
                io.Int.Input("resolution", default=0, min=0, max=8192, step=8, tooltip=(
                    "Side in pixels of the square it is trained at; 0 is the family's own.")),
                io.Combo.Input("purpose", options=list(PURPOSES), default="character", tooltip=(
                    "What is to be trained: how many pictures it wants, and of what.")),
                io.String.Input("trigger", default="", tooltip="The word every caption should hold, if any."),
                io.Combo.Input("leave_out", options=list(LEAVE_OUT), default="nothing", tooltip=(
                    "Pictures that do not go on: copies of others, all with faults, or also those with warnings. Each "
                    "is named in the report with the reason.")),
                io.Int.Input("columns", default=6, min=1, max=16, tooltip="Pictures in a row of the sheet."),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The dataset, without what is left out."),
                io.Image.Output(display_name="sheet", tooltip=(
                    "Every picture in a frame of its worst finding's colour: red fault, orange warning, blue note.")),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, resolution) -> bool | str:
        return problem(lambda side: side and AuditConfig(resolution=side), resolution)

    @classmethod
    def execute(cls, dataset, family, resolution, purpose, trigger, leave_out, columns) -> io.NodeOutput:
        config = AuditConfig(family=family, resolution=resolution or None, purpose=purpose, trigger=trigger.strip())
        found = run_audit(dataset, config, Work(cls.hidden.unique_id))
        rest, report = leave_out_findings(found, dataset, leave_out)
        sheet = to_batch(contact_sheet(found, min(columns, max(1, len(dataset)))))
        show_report(advice_first(found, report), cls.hidden.unique_id)
        return io.NodeOutput(rest, sheet, report, ui=ui.PreviewImage(sheet, cls=cls))


def advice_first(found: DatasetAudit, report: str) -> str:
    """The report with what to do right below its head, since the node shows only the first lines."""
    head, *rest = report.split("\n\n")
    return "\n\n".join((head, *(["\n".join(("Advice", *found.advice))] if found.advice else []), *rest))


def run_audit(dataset: Dataset, config: AuditConfig, work: Work) -> DatasetAudit:
    """The audit of a dataset; what was measured before is not measured again."""
    return follow(audit(dataset, config, paths.audits_root() / "measured"), work).audit


def leave_out_findings(found: DatasetAudit, dataset: Dataset, leave_out: str) -> tuple[Dataset, str]:
    """(the dataset that goes on, the report with the reasons for those left out).

    Raises UserError if no image is left.
    """
    rest, reasons = (dataset, ()) if leave_out == "nothing" else found.without(*LEAVE_OUT[leave_out])
    if leave_out != "nothing" and not len(rest):
        raise UserError(f"all {len(found.pictures)} pictures would be left out ({reasons[0]}). Leave out less, or add "
                        "pictures; the report of leave_out 'nothing' says what is wrong.")
    return rest, "\n".join(line for line in (table(found).rstrip(), *reasons) if line)
