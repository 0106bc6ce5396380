"""`python -m collectord` is the command `collectord`."""

import sys

from collectord.cli import main

sys.exit(main())
