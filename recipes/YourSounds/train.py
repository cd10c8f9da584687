"""Adapt a frozen encoder to your own recordings with a class each. See README.md."""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
