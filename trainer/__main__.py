"""`python -m lora_bootstrap.trainer` is `lora-bootstrap`."""

import sys

from .cli.main import main

sys.exit(main())
