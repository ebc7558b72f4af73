"""`python -m lora_bootstrap` is `lora-bootstrap`, and so `accelerate launch -m lora_bootstrap` is too."""

import sys

from .trainer.cli.main import main

sys.exit(main())
