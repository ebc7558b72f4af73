"""The node that draws a round's candidates with the sampler in the workflow, and saves each one as soon as it is
drawn."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..host import menu, paths
from ..host.drawing.generator import Generator, find_generator
from ..host.drawing.node_facts import FACTS, file_facts
from ..host.drawing.pictures import made_images, shown_images, to_batch, to_pictures
from ..host.drawing.recipe import Node, nodes_above
from ..host.drawing.repeat import Part, RepeatGraph, at_strength, part_between
from ..host.events import current_run, linked_value, tell_candidates, tell_project
from ..host.paths import output_path
from ..host.session import current_session
from ..host.shown_text import show_text
from ..host.stacks import read_stack
from ..host.working import problem
from ..trainer.bootstrap.candidates import PARTS, Lineage
from ..trainer.bootstrap.planning.references import References
from ..trainer.bootstrap.planning.shares import PLAN_REPORT, Share
from ..trainer.bootstrap.planning.view_plan import (
    MOST_CFG,
    PlannedView,
    Source,
    ViewPlan,
    is_kept,
    keep_candidates,
    lineage_of,
    remove_outdated,
)
from ..trainer.bootstrap.project import ProjectRecord, note_stage
from ..trainer.bootstrap.repairs import WishedView, list_wished
from ..trainer.bootstrap.rounds import REFERENCE, Project, Round
from ..trainer.bootstrap.stages import STAGES
from ..trainer.common.errors import UserError
from ..trainer.stacks.time_split import curves_of, describe_curves
from ..trainer.sweeps.axis_text import MOST_SEED
from .schema import node_schema
from .sockets import BootstrapProjectSocket, BootstrapViews, LoraStack

INTERNAL = f"{menu.BOOTSTRAP}/{menu.INTERNAL}"
PROMPT_SLOT, SEED_SLOT, REFERENCE_SLOT, ORIGINAL_SLOT = 0, 1, 5, 6
"""Slots of View Prompts' outputs."""
FIGURES = ("steps", "cfg")
"""What a lineage records of the sampler."""
CURVE_INPUTS = ("preset", "character_start", "character_end", "style_start", "style_end", "until")
"""Inputs of Time Split that say how strengths change."""


class SaveCandidates(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_SaveCandidates", display_name="Save Candidates", category=menu.BOOTSTRAP,
            description="Draws the views of View Prompts, one after the other, with the nodes between it and this one. "
                        "Each image is saved at once with its lineage: Cancel loses at most the image being drawn, "
                        "and existing candidates are not drawn again.",
            is_output_node=True, enable_expand=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                BootstrapProjectSocket.Input("project"),
                BootstrapViews.Input("views", tooltip="The views from View Prompts."),
                io.Image.Input("images", lazy=True, raw_link=True, tooltip=(
                    "The images that your sampler makes from the prompt and seed of View Prompts.")),
                LoraStack.Input("LORA_STACK", optional=True, tooltip=(
                    "The LoRA that draws, for example from Pick Checkpoint. It is saved beside each image, so that "
                    "candidates of another LoRA are not mistaken for this one's. An edit model needs none.")),
                io.String.Input("share", default="", optional=True, tooltip=(
                    "Share of the plan that is drawn here, if several servers draw for the round: 2/3 is the second of "
                    "three, every third view. plan draws nothing, and only reports the plan. Empty: all.")),
            ],
            outputs=[BootstrapProjectSocket.Output(display_name="project", tooltip=(
                "The project, for Curate Images, once all candidates are saved."))],
        )

    @classmethod
    def validate_inputs(cls, share="") -> bool | str:
        return problem(Share.read, share)

    @classmethod
    def fingerprint_inputs(cls, share="", **_) -> Any:
        if share is None or not Share.read(share).whole:  # what other servers draw is not known here
            return float("nan")
        number = linked_value(cls.hidden.unique_id, "views", "round")
        candidates = current_session().candidates
        return [candidates.look(), candidates.wishes(number)]

    @classmethod
    def execute(cls, project, views, images, LORA_STACK=None, share="") -> io.NodeOutput:
        find, me = cls.hidden.dynprompt.get_node, cls.hidden.unique_id
        part, graph = drawn_part(find, me), RepeatGraph()
        links = {name: link for name, link in find(me)["inputs"].items() if name in ("project", "views", "LORA_STACK")}
        draw = graph.node("LoraBootstrap_DrawCandidates", "draw", **links, contents=part.add_contents(graph, me),
                          node=me, run=secrets.token_hex(8), share=share, **linked_figures(part))
        draw.set_override_display_id(me)
        return io.NodeOutput(draw.out(0), expand=graph.finalize())


class DrawCandidates(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_DrawCandidates", display_name="Draw Candidates", category=INTERNAL,
            is_deprecated=True, enable_expand=True, is_input_list=True,  # a figure may come from a list of outputs
            hidden=[io.Hidden.dynprompt],
            description="Draws the missing candidates once it is known what is linked to the sampler. Save Candidates "
                        "adds this node while it works; do not use it in your own workflows.",
            inputs=[BootstrapProjectSocket.Input("project"), BootstrapViews.Input("views"),
                    io.String.Input("contents", tooltip="A hash of what is linked."),
                    io.String.Input("node", tooltip="The id of Save Candidates."),
                    io.String.Input("run", default="", tooltip="Another text for each Run, so that none is skipped."),
                    LoraStack.Input("LORA_STACK", optional=True, tooltip="The LoRA that draws."),
                    io.Int.Input("steps", optional=True, force_input=True, tooltip="The sampler's steps, if linked."),
                    io.Float.Input("cfg", optional=True, force_input=True, tooltip="The sampler's cfg, if linked."),
                    io.String.Input("share", default="", optional=True, tooltip="The share of Save Candidates.")],
            outputs=[BootstrapProjectSocket.Output(display_name="project")],
        )

    @classmethod
    def execute(cls, project, views, contents, node, run=(), LORA_STACK=(None,), steps=(), cfg=(),
                share=("",)) -> io.NodeOutput:
        project, views, contents, node, stack, share = (given[0] for given in (
            project, views, contents, node, LORA_STACK, share))
        find = cls.hidden.dynprompt.get_node
        stack, applies = read_stack(stack), find(node)["inputs"].get("LORA_STACK", [None])[0]
        request = DrawRequest.of(project, views, drawn_part(find, node), contents, stack,
                                 {"steps": figure_of(steps, int), "cfg": figure_of(cfg, float),
                                  "curve": curve_of(find, node, stack)}, find,
                                 lambda part, strength: applies and at_strength(part, find, applies, strength, FACTS),
                                 Share.read(share))
        show_text("\n".join((request.headline, *request.warnings)), node)
        if request.share.only_plan:
            return io.NodeOutput(project, ui={PLAN_REPORT: [request.report]})
        request.begin()
        if not request.missing:
            return io.NodeOutput(project)
        graph = RepeatGraph()
        done = expand_views(graph, request, find(node)["inputs"]["project"])
        return io.NodeOutput(done, expand=graph.finalize())


class CandidateView(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_CandidateView", display_name="Candidate View", category=INTERNAL, is_deprecated=True,
            description="Holds one view's prompt, seed and reference. Save Candidates adds this node while it works; "
                        "do not use it in your own workflows.",
            inputs=[io.String.Input("prompt", tooltip="The view's prompt."),
                    io.Int.Input("seed", default=0, min=0, max=MOST_SEED, control_after_generate=False,
                                 tooltip="The view's seed."),
                    BootstrapProjectSocket.Input("after", optional=True, tooltip="The candidate to wait for."),
                    BootstrapProjectSocket.Input("project", optional=True, tooltip="The project of the reference."),
                    io.String.Input("reference", default="", optional=True, tooltip=(
                        "The round, the name and the hash of the view's reference image, as JSON."))],
            outputs=[io.String.Output(display_name="prompt"), io.Int.Output(display_name="seed"),
                     io.Image.Output(display_name="reference")],
        )

    @classmethod
    def execute(cls, prompt, seed, after=None, project=None, reference="") -> io.NodeOutput:
        return io.NodeOutput(prompt, seed, load_reference(project, reference) if reference else None)


class KeepCandidate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_KeepCandidate", display_name="Keep Candidate", category=INTERNAL,
            is_deprecated=True, is_output_node=True, is_input_list=True,  # a view may be drawn as a list of images
            description="Saves one candidate. Save Candidates adds this node while it works; do not use it in your own "
                        "workflows.",
            hidden=[io.Hidden.unique_id],
            inputs=[BootstrapProjectSocket.Input("project"), io.Image.Input("images"),
                    io.String.Input("lineage", tooltip="The lineage that is written beside the image, as JSON."),
                    io.Int.Input("total", default=1, min=1, max=2**31 - 1, control_after_generate=False,
                                 tooltip="Number of candidates that the round will have.")],
            outputs=[BootstrapProjectSocket.Output(display_name="project")],
        )

    @classmethod
    def execute(cls, project, images, lineage, total) -> io.NodeOutput:
        mine = Lineage(**json.loads(lineage[0]))
        round_ = project[0].round(mine.round)
        kept = keep_candidates(round_, mine, made_images(images, to_pictures))
        made = current_session().candidates.note(round_.candidates_folder)
        left = current_session().planned.count_open(round_.candidates_folder, mine.name)
        wanted = total[0] if left is None else made + left
        tell_candidates(round_.project.name, mine.round, made, wanted)
        if mine.round != REFERENCE and (made >= wanted or kept[0].stem != mine.name):
            tell_project(round_.project.name)
        return io.NodeOutput(round_.project, ui=shown_images(kept))


# -- what a Run draws --------------------------------------------------------------------------------------------------


WHOLE = Share()
Strengthen = Callable[[Part, float], Part | None]
"""Gives a part at another strength of the LoRA, or None if the graph does not let it."""


@dataclass(frozen=True)
class Drawing:
    """One image to draw: its view, the lineage under which it is saved, and the nodes that draw it.

    Attributes:
        key: distinguishes its nodes from those of the other images.
    """

    key: str
    view: PlannedView
    lineage: Lineage
    part: Part


class DrawRequest:
    """What a Run draws for one round.

    Attributes:
        share: what of the plan is drawn here.
        plan: every image of the plan, whatever the share.
        again: the images that a person asked for in the gallery and that are not drawn yet.
        open: what is not saved yet of both.
        missing: what of `open` is drawn here.
        left: names of candidates that are to be drawn again by what drew them, which is not what draws here.
        shared: names of candidates that another Save Candidates draws again in this Run.
    """

    def __init__(self, round_: Round, views: ViewPlan, source: Source, part: Part,
                 strengthen: Strengthen = lambda *_: None, share: Share = WHOLE) -> None:
        self.round_, self.views, self.source, self.part, self.share = round_, views, source, part, share
        self._images = References.of(round_) if part.uses(REFERENCE_SLOT) else None
        self.plan = [Drawing(str(view.index), view, self._lineage(view), part) for view in views.views]
        self._stuck: list[str] = []
        wishes = list_wished(round_)
        mine = [wished for wished in wishes if self._is_mine(wished)]
        self.left = [wished.wish.candidate for wished in wishes if wished not in mine]
        self.shared = [wished.wish.candidate for wished in mine if self._is_drawn_elsewhere(wished)]
        self.again = [self._again(wished, strengthen) for wished in mine if not self._is_drawn_elsewhere(wished)]
        waiting = [drawing for drawing in self.plan if not is_kept(round_, drawing.lineage)]
        here = {drawing.key for drawing in share.choose(self.plan)}
        self.open = [*waiting, *self.again]
        self.missing = [*(drawing for drawing in waiting if drawing.key in here),
                        *(self.again if share.draws_wishes else ())]

    def _lineage(self, view: PlannedView) -> Lineage:
        images = self._images
        return lineage_of(self.round_, view, self.source,
                          images.choose(view.prompt.tags, view.wording) if images else None)

    def _is_mine(self, wished: WishedView) -> bool:
        """Whether what drew the old image draws here, as far as both are known. Several nodes may draw for a round."""
        mine = self.source.generator.partition(PARTS)[0]
        return not mine or wished.generator in ("", mine)

    def _is_drawn_elsewhere(self, wished: WishedView) -> bool:
        return current_session().planned.is_open(current_run(), self.round_.candidates_folder, wished.name)

    def _again(self, wished: WishedView, strengthen: Strengthen) -> Drawing:
        planned, strength = self._lineage(wished.view), wished.wish.strength
        part = self.part if strength is None else strengthen(self.part, strength)
        if part is None:
            self._stuck.append(wished.name)
        lineage = wished.lineage(planned, None if part is None else strength)
        return Drawing(f"{wished.view.index}_{wished.wish.id}", wished.view, lineage, part or self.part)

    @classmethod
    def of(cls, project: Project, views: ViewPlan, part: Part, contents: str, stack: Any,
           linked: Mapping[str, Any], find: Callable[[str], Node],
           strengthen: Strengthen = lambda *_: None, share: Share = WHOLE) -> DrawRequest:
        """`linked`: the values that come over `linked_figures`, and the `curve` of `curve_of`."""
        lora, strength = parent_of(stack, project)
        recipe = part.key(contents, file_facts(view.text for view in views.views))
        made_by = find_generator(find, part.end, part.source, lora)
        steps, cfg = (part.settings.get(name, linked.get(name)) for name in FIGURES)
        source = Source(lora, strength, recipe, steps, cfg, made_by.words, linked.get("curve", ""),
                        edits_image(part, made_by))
        return cls(project.round(views.round), views, source, part, strengthen, share)

    @property
    def headline(self) -> str:
        there = len(self.plan) + len(self.again) - len(self.open)
        parts = [*([] if self.share.whole else [f"share {self.share.text}"]),
                 f"{len(self.missing)} images to draw" if self.missing else "nothing to draw",
                 *([f"{len(self.again)} of them again, as the gallery asks"]
                   if self.again and self.share.draws_wishes else []),
                 f"{there} of {len(self.plan) + len(self.again)} already saved"]
        return ", ".join(parts)

    @property
    def warnings(self) -> list[str]:
        """Settings that are probably a mistake."""
        found = []
        if self.source.cfg is not None and self.source.cfg > MOST_CFG:
            found.append(f"cfg is {self.source.cfg:g}; above {MOST_CFG:g} the loop's images burn in a little more with "
                         "every round. Use 3 to 5.")
        found += self.part.warnings
        if self._stuck:
            found.append(f"{', '.join(self._stuck)} cannot be drawn at the strength that was asked for: no Pick "
                         "Checkpoint before the sampler is linked to LORA_STACK. The workflow's strength is used.")
        if self.left:
            found.append(f"{', '.join(self.left)} cannot be drawn again here: another model or service drew them. Run "
                         "the Save Candidates of that one, or take them back in the gallery.")
        if self.shared:
            found.append(f"{', '.join(self.shared)} {'is' if len(self.shared) == 1 else 'are'} drawn again by another "
                         "Save Candidates of this Run.")
        if self.source.lora is None and self.round_.number != REFERENCE and not self.source.edits:
            found.append("no LORA_STACK is linked, so the lineage cannot record which LoRA drew these images.")
        return found

    @property
    def report(self) -> dict[str, Any]:
        """The whole plan, for a farm of hosts. trainer/cast/farm_plan.py reads it."""
        return {"plan": [drawing.lineage.to_dict() for drawing in self.plan],
                "again": [drawing.lineage.to_dict() for drawing in self.again],
                "unsure": list(self.part.recipe.unsure)}

    def begin(self) -> None:
        """Record what will be drawn, and remove reference images of an earlier plan."""
        if self.round_.number == REFERENCE:
            remove_outdated(self.round_, [drawing.lineage.name for drawing in self.plan])
        self.record_stages()
        # what other shares draw counts in the total that is shown, but their wishes are not drawn in this Run
        names = [drawing.lineage.name for drawing in self.open if self.share.draws_wishes or drawing not in self.again]
        current_session().planned.add(current_run(), self.round_.candidates_folder, names)
        current_session().candidates.note(self.round_.candidates_folder)

    def record_stages(self) -> None:
        """Record in project.json which LoRA draws, and what."""
        number, lora = self.round_.number, self.source.lora
        record = ProjectRecord.load(self.round_.project.folder)
        if lora and paths.inside(paths.loras_root(), lora):
            note_stage(record, *STAGES["style"].name_and_title(number), lora.stem, True,
                       {"lora": output_path(lora), "run": output_path(lora.parent)})
        stage = STAGES["reference" if number == REFERENCE else "candidates"]
        note_stage(record, *stage.name_and_title(number), f"{len(self.plan)} images", not self.open,
                   {"folder": output_path(self.round_.candidates_folder)})


def drawn_part(find: Callable[[str], Node], node_id: str) -> Part:
    """The user's nodes between View Prompts and the images linked to Save Candidates."""
    links = find(node_id)["inputs"]
    return part_between(find, links["views"][0], links["images"], "link View Prompts' prompt to the text encoder and "
                        "its seed to the sampler, and the decoded image to Save Candidates.", FACTS,
                        (PROMPT_SLOT, SEED_SLOT, REFERENCE_SLOT))


def edits_image(part: Part, generator: Generator) -> bool:
    """Whether an image is edited: by what the nodes are, or because an image of View Prompts is linked."""
    return generator.edits or part.uses(REFERENCE_SLOT) or part.uses(ORIGINAL_SLOT)


def load_reference(project: Project, reference: str) -> Any:
    """The reference that a plan named, as an IMAGE. Raises UserError if it is another image by now."""
    number, name, pixels = json.loads(reference)
    found = References.of(project.round(number)).named(name)
    if found.pixels != pixels:
        raise UserError(f"reference {name!r} was changed since this Run began; press Run again.")
    return to_batch(found.load())


def linked_figures(part: Part) -> dict[str, Any]:
    """The links over which the sampler gets the figures that a lineage records."""
    return {name: list(part.linked[name]) for name in FIGURES if name in part.linked}


def figure_of(values: Sequence[Any], kind: type[int] | type[float]) -> int | float | None:
    """The number that came over a link; None for several, and for anything else."""
    numbers = {kind(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
               else None for value in values}
    return numbers.pop() if len(numbers) == 1 else None


def parent_of(stack: Sequence[tuple[str, float, float]] | None, project: Project) -> tuple[Path | None, float]:
    """(file, strength) of the LoRA that draws: in a stack of several, the project's own; if there is none, the first.
    Files of an imported project keep their names, and its runs' folders are named like the project.

    Raises UserError for a name that ComfyUI does not know.
    """
    if not stack:
        return None, 0.0
    owned = ([entry for entry in stack if called(Path(entry[0])).startswith(project.name)]
             for called in (lambda path: path.name, lambda path: path.parent.name))
    name, strength, _ = next(filter(None, owned), list(stack))[0]
    return paths.lora_file(name), float(strength)


def curve_of(find: Callable[[str], Node], node_id: str, stack: Sequence[Any] | None) -> str:
    """How the Time Split above Save Candidates varies the strength over the steps; "" without one, and where its inputs
    come over links. The recipe covers those too."""
    given = [node["inputs"] for node in nodes_above(find, find(node_id)["inputs"]["images"])
             if node["class_type"] == "LoraBootstrap_TimeSplit"]
    values = [{name: inputs.get(name) for name in CURVE_INPUTS} for inputs in given]
    if len(values) != 1 or not stack or any(not isinstance(value, (str, int, float)) for value in values[0].values()):
        return ""
    return describe_curves(curves_of(**values[0]), alone=len(stack) == 1)


def expand_views(graph: RepeatGraph, request: DrawRequest, project: list[Any]) -> list[Any]:
    """Add a copy of the workflow's sampling part for each missing view, each waiting for the one before. Returns the
    link to the project as it is once all are saved."""
    done: list[Any] | None = None
    total = len(request.round_.list_candidates()) + len(request.open)
    for drawing in request.missing:
        done = _expand_view(graph, drawing, project, done, total)
    return done or project


def _expand_view(graph: RepeatGraph, drawing: Drawing, project: list[Any], after: list[Any] | None,
                 total: int) -> list[Any]:
    view, key = drawing.view, drawing.key
    given = {"prompt": view.text, "seed": view.seed} | ({"after": after} if after else {})
    if drawing.lineage.reference:
        given |= {"project": project, "reference": json.dumps(
            [drawing.lineage.round, drawing.lineage.reference, drawing.lineage.reference_hash])}
    source = graph.node("LoraBootstrap_CandidateView", f"view_{key}", **given)
    image = drawing.part.copy(graph, key, {slot: source.out(place) for place, slot in enumerate(
        (PROMPT_SLOT, SEED_SLOT, REFERENCE_SLOT))})
    keep = graph.node("LoraBootstrap_KeepCandidate", f"keep_{key}", project=project, images=image, total=total,
                      lineage=json.dumps(drawing.lineage.to_dict()))
    return keep.out(0)
