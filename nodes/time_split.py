"""The node that splits two LoRAs in time: one early, when the composition forms, the other late, when the look forms.
It also varies a LoRA alone.

It uses ComfyUI's own hooks (comfy_extras/nodes_hooks.py). The text encoder passes them to the conditioning, and a
sampler that supports them changes the weights as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..host import menu
from ..host.drawing.pictures import to_batch
from ..host.drawing.runner import call, node_class
from ..host.drawing.sweep_plan import LoraEntry
from ..host.stacks import read_stack, stack_entries
from ..host.working import show_report
from ..trainer.pictures.curves import Point, stairs_plot
from ..trainer.stacks.stack import CHARACTER, StackEntry, roles
from ..trainer.stacks.time_split import CUSTOM, KEYFRAMES, PRESETS, STYLE, Curve, curves_of
from .schema import node_schema
from .sockets import LoraStack


class TimeSplit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def factor(name: str, default: float, tooltip: str):
            return io.Float.Input(name, default=default, min=0.0, max=2.0, step=0.05, tooltip=f"For custom: {tooltip}")

        return node_schema(
            node_id="LoraBootstrap_TimeSplit", display_name="Time Split", category=menu.STACK,
            description="Splits two LoRAs in time with ComfyUI's own hooks, for example character early and style "
                        "late: for LoRAs that no strengths reconcile. A LoRA alone follows the style's curve. The CLIP "
                        "carries the hooks. Encode both prompts with it, and give the sampler the model without these "
                        "LoRAs.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder without these LoRAs."),
                LoraStack.Input("LORA_STACK", tooltip=(
                    "A character and a style: the LoRAs whose files say so, or else the first and the second. All "
                    "others are active throughout. A LoRA alone follows the style's curve.")),
                io.Combo.Input("preset", options=[*PRESETS, CUSTOM], default=next(iter(PRESETS)), tooltip=(
                    "character first: character 1 to 0.7, style 0.4 to 1 over the first half. style first: the "
                    "reverse. cross-fade at half: 1 to 0.3 and 0.3 to 1 around the middle. style fades: character 1, "
                    "style 1 to 0.3 over the first half. weak early, strong late: character 1, style 0.7 and from 40 % "
                    "on 2.3. custom: the five inputs below.")),
                factor("character_start", 1.0, "factor for the character's strength at the first step."),
                factor("character_end", 0.7, "factor for the character's strength from until on."),
                factor("style_start", 0.4, "factor for the style's strength at the first step."),
                factor("style_end", 1.0, "factor for the style's strength from until on."),
                io.Float.Input("until", default=0.5, min=0.05, max=1.0, step=0.05, tooltip=(
                    "For custom: the share of the steps over which the strengths change.")),
                io.Boolean.Input("schedule_clip", default=False, tooltip=(
                    "Encode the prompts again for each strength. Off: the text encoder has the stack's strengths "
                    "throughout.")),
            ],
            outputs=[
                io.Clip.Output(display_name="CLIP", tooltip="The text encoder for both prompts."),
                io.Image.Output(display_name="curve", tooltip="A plot of both strengths over the steps."),
            ],
        )

    @classmethod
    def execute(cls, clip, LORA_STACK, preset, character_start, character_end, style_start, style_end, until,
                schedule_clip) -> io.NodeOutput:
        split = Split.of(read_stack(LORA_STACK), curves_of(preset, character_start, character_end, style_start,
                                                           style_end, until))
        show_report(split.report, cls.hidden.unique_id)
        return io.NodeOutput(run("SetClipHooks", clip=clip, apply_to_conds=True, schedule_clip=schedule_clip,
                                 hooks=split.hooks()), split.image())


# -- the work ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """A stack in which two LoRAs change their strength over the steps.

    Attributes:
        curves: by place in the stack, the character's first; the style's alone for one LoRA.
    """

    stack: Sequence[LoraEntry]
    entries: Sequence[StackEntry]
    curves: Mapping[int, Curve]

    @classmethod
    def of(cls, stack: Sequence[LoraEntry], curves: tuple[Curve, Curve]) -> Split:
        """Raises UserError if there is no LoRA, or if a file is missing."""
        entries = stack_entries(stack)
        if len(entries) == 1:
            return cls(stack, entries, {0: curves[1]})
        return cls(stack, entries, dict(zip(roles(entries), curves, strict=True)))

    def hooks(self) -> Any:
        """ComfyUI's hooks for the whole stack. LoRAs without a curve are active throughout."""
        whole = None
        for place, (name, strength, clip_strength) in enumerate(self.stack):
            hooks = run("CreateHookLora", lora_name=name, strength_model=strength, strength_clip=clip_strength)
            if place in self.curves:
                hooks = run("SetHookKeyframes", hooks=hooks, hook_kf=keyframes(self.curves[place]))
            whole = hooks if whole is None else run("CombineHooks2", hooks_A=whole, hooks_B=hooks)
        return whole

    @property
    def points(self) -> dict[str, list[Point]]:
        """By name: the strength at each share of the steps where it changes."""
        return {self.entries[place].name: [(share, factor * self.entries[place].strength)
                                           for share, factor in curve.stairs] for place, curve in self.curves.items()}

    @property
    def report(self) -> str:
        named = (CHARACTER, STYLE) if len(self.curves) == 2 else ("LoRA",)
        return "\n".join(_line(role, name, points) for role, (name, points) in
                         zip(named, self.points.items(), strict=True))

    def image(self) -> Tensor:
        """Both strengths over the steps, as an IMAGE."""
        return to_batch(stairs_plot("strength over % of the steps", self.points))


def keyframes(curve: Curve) -> Any:
    """ComfyUI's keyframes for a curve. Its percentages are shares of the noise schedule."""
    first = run("CreateHookKeyframe", strength_mult=curve.start, start_percent=0.0)
    if curve.start == curve.end:
        return first
    if curve.is_sudden:  # interpolated keyframes would hold the first strength for one more step
        return run("CreateHookKeyframe", strength_mult=curve.end, start_percent=curve.until, prev_hook_kf=first)
    return run("CreateHookKeyframesInterpolated", strength_start=curve.start, strength_end=curve.end,
               interpolation="linear", start_percent=curve.begin, end_percent=curve.until, keyframes_count=KEYFRAMES,
               print_keyframes=False, prev_hook_kf=first)


def run(name: str, **inputs: Any) -> Any:
    """The first output of one of ComfyUI's own nodes."""
    return call(node_class(name)(), inputs)[0]


def _line(role: str, name: str, points: Sequence[Point]) -> str:
    if len(points) == 1:
        return f"{role} {name}: {points[0][1]:.2f} throughout"
    if len(points) == 2:
        return f"{role} {name}: {points[0][1]:.2f}, from {100 * points[1][0]:.0f} % of the steps {points[1][1]:.2f}"
    start = max(share for share, value in points if value == points[0][1])
    return (f"{role} {name}: {points[0][1]:.2f} to {points[-1][1]:.2f} from {100 * start:.0f} to "
            f"{100 * points[-1][0]:.0f} % of the steps")
