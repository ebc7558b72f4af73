"""A folder that has something to find, and an audit run to its end."""

import random

from PIL import ImageFilter

from lora_bootstrap.sandbox import world
from lora_bootstrap.sandbox.drawing import draw
from lora_bootstrap.trainer.audits.audit import audit
from lora_bootstrap.trainer.datasets.dataset import save_samples


def draw_faulty_folder(folder):
    """Six drawings of one character, one blurred, one copied, one of two people, one without a caption."""
    rng = random.Random(5)
    scenes = [world.Scene(world.HELD_OUT["akane"], angle=angle, framing=framing)
              for angle in ("front view", "from side") for framing in ("full body", "upper body", "close-up")]
    items = [(draw(scene, 128), ", ".join(["zqx", *world.caption_tags(scene)]), {"name": f"d{number}"})
             for number, scene in enumerate(scenes)]
    image = items[0][0]
    above = draw(world.Scene(world.HELD_OUT["akane"], angle="from above"), 128)
    items += [(above.filter(ImageFilter.GaussianBlur(2.5)), "zqx, 2girls", {"name": "soft"}),
              (image.crop((3, 3, 125, 125)), "zqx, 1girl", {"name": "twin"}),
              (draw(world.sample_scene(rng, background="white background", style="flat color"), 128), "",
               {"name": "untold"})]
    save_samples(folder, items)
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


def run_audit(dataset, config=None, cache=None):
    *_, last = audit(dataset, config, cache)
    return last.audit
