"""`python -m relay` is the command `tracker-relay`."""

import sys

from relay.cli import main

sys.exit(main())
