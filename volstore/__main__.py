"""`python -m volstore`: the same as the console script."""

import sys

from volstore.cli import main

sys.exit(main())
