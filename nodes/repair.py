"""Nodes that repair one candidate: load it into a graph of the user's, and save the result beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..host import menu, paths
from ..host.drawing.pictures import first_of_batch, shown_images, to_batch, to_pictures
from ..host.events import tell_candidates, tell_project
from ..host.session import current_session
from ..host.shown_text import show_text
from ..host.working import problem
from ..trainer.bootstrap.candidates import Lineage
from ..trainer.bootstrap.repairs import find_candidate, keep_repaired
from ..trainer.bootstrap.rounds import REFERENCE, Project, Round
from ..trainer.common.errors import UserError
from ..trainer.common.files import file_hash
from ..trainer.pictures.images import open_image
from ..trainer.sweeps.axis_text import MOST_SEED
from .schema import node_schema
from .sockets import BootstrapProjectSocket


class LoadCandidate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_LoadCandidate", display_name="Load Candidate", category=menu.BOOTSTRAP,
            description="Loads one candidate of a round, to be repaired by nodes of your own: an inpainting, a "
                        "detailer, an upscaler. Press Send in the gallery's close view to choose it.",
            inputs=[io.String.Input("candidate", default="", tooltip=(
                "The project, the round and the name of the candidate: akane/1/r1-007-3fa2c1. Send in the gallery's "
                "close view writes it."))],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The whole image, neither cropped nor flipped."),
                io.String.Output(display_name="prompt", tooltip="The prompt that it was drawn with."),
                io.Int.Output(display_name="seed", tooltip="The seed that it was drawn with."),
                io.String.Output(display_name="candidate", tooltip="Which one it is, for Save Repaired Candidate."),
            ],
        )

    @classmethod
    def validate_inputs(cls, candidate) -> bool | str:
        return problem(find_place, candidate)

    @classmethod
    def fingerprint_inputs(cls, candidate) -> Any:
        try:
            return float("nan") if candidate is None else file_hash(find_place(candidate)[1])
        except (UserError, OSError):
            return float("nan")

    @classmethod
    def execute(cls, candidate) -> io.NodeOutput:
        _, path = find_place(candidate)
        lineage = Lineage.read(path)
        return io.NodeOutput(to_batch(open_image(path)), lineage.prompt, min(lineage.seed, MOST_SEED), candidate,
                             ui=shown_images([path]))


class SaveRepaired(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_SaveRepaired", display_name="Save Repaired Candidate", category=menu.BOOTSTRAP,
            description="Saves what your nodes made of a candidate beside it, with its lineage, tags and note. The old "
                        "image stays on disk, and curation leaves it out.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[io.Image.Input("image", tooltip="The repaired image. In a batch, the first."),
                    io.String.Input("candidate", force_input=True, tooltip=(
                        "Which candidate it was made from, from Load Candidate."))],
            outputs=[BootstrapProjectSocket.Output(display_name="project", tooltip=(
                "The project, for Curate Images, once the image is saved."))],
        )

    @classmethod
    def execute(cls, image, candidate) -> io.NodeOutput:
        round_, old = find_place(candidate)
        saved = keep_repaired(round_, old.stem, to_pictures(image)[0])
        show_text("\n".join((f"{saved.stem} replaces {old.stem}", *first_of_batch(image, "image"))),
                  cls.hidden.unique_id)
        made = current_session().candidates.note(round_.candidates_folder)
        tell_candidates(round_.project.name, round_.number, made, made)
        tell_project(round_.project.name)
        return io.NodeOutput(round_.project, ui=shown_images([saved]))


def find_place(text: str) -> tuple[Round, Path]:
    """The round and the image of the candidate that a text names: akane/1/r1-007-3fa2c1.

    Raises UserError if there is no such candidate.
    """
    project, _, rest = text.strip().partition("/")
    number, _, name = rest.partition("/")
    if not project or not name or not number.isdecimal() or len(number) > 2:
        raise UserError(f"candidate is {text!r}; it must name project, round and candidate, such as "
                        "akane/1/r1-007-3fa2c1. Press Send in the gallery's close view, which writes it.")
    if int(number) == REFERENCE:
        raise UserError(f"candidate is {text!r}; images of round 0 are the base model's own, and are not repaired. "
                        "Choose a candidate of round 1 or later.")
    round_ = Project.load(paths.own_folder(paths.projects_root(), project)).round(int(number))
    return round_, find_candidate(round_, name)
