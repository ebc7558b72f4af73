"""The shipped base model as a loader node, so that every template runs without a download."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import menu
from ..host.drawing.pictures import to_batch
from ..sandbox import PICTURES_DIR
from ..trainer.pictures.images import open_image
from .schema import node_schema


class LoadSandbox(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        pictures = sorted(path.stem for path in PICTURES_DIR.glob("*.png"))
        return node_schema(
            node_id="LoraBootstrap_LoadSandbox", display_name="Load Sandbox", category=menu.SANDBOX,
            description="Loads the small base model that comes with the pack: a drawn character world of 64-pixel "
                        "images. Try everything on it in minutes, then replace this loader with your own checkpoint.",
            inputs=[
                io.Combo.Input("picture", options=pictures, default=pictures[0], tooltip=(
                    "A drawing of a character that the base model has never seen, to train on.")),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Clip.Output(display_name="CLIP"),
                io.Vae.Output(display_name="VAE", tooltip=(
                    "The VAE. It has 4 image pixels per latent pixel, not 8: an Empty Latent Image of 128 px gives 64 "
                    "px.")),
                io.Image.Output(display_name="picture"),
                io.String.Output(display_name="tags", tooltip="Tags for what the drawing shows, separated by commas."),
            ],
        )

    @classmethod
    def execute(cls, picture) -> io.NodeOutput:
        from ..host.backbone.sandbox import load_sandbox

        path = PICTURES_DIR / f"{picture}.png"
        tags = path.with_suffix(".txt").read_text("utf-8").strip()
        return io.NodeOutput(*load_sandbox(), to_batch(open_image(path)), tags)
