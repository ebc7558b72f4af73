"""Makes every weight of the sandbox from one seed: `python -m lora_bootstrap.sandbox.make_base --stage vae`.

Run the stages in the order of `STAGES`; two CPU cores need about an hour and a half in total.
"""
from __future__ import annotations

import argparse
from importlib import import_module

from .workshop import Workshop

#: stage -> module, function, default steps
STAGES = {
    "tokenizer": ("make_tokenizer", "train_tokenizer", 0),
    "vae": ("make_vae", "train_vae", 3400),
    "judge": ("make_judge", "train_judge", 1600),
    "unet": ("make_unet", "train_unet", 6500),
    "evaluate": ("evaluate", "evaluate", 20),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--steps", type=int, help="training steps, or sampling steps of evaluate")
    options = parser.parse_args()
    module, function, steps = STAGES[options.stage]
    run = getattr(import_module(f".{module}", __package__), function)
    run(Workshop(), steps if options.steps is None else options.steps)


if __name__ == "__main__":
    main()
