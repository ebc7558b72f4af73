"""`python -m lora_bootstrap.trainer` is `lora-bootstrap`."""

import sys

from .cli import main

sys.exit(main())
