"""`python -m volstore`: the same as the console script."""

from volstore.cli import main

main()
