"""Adapt a frozen speech encoder to the 50 kinds of environmental sound of ESC-50. See README.md."""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
