"""`python -m segloop` is the `segloop` command."""

import sys

from segloop.cli import main

if __name__ == "__main__":
    sys.exit(main())
