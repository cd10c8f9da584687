"""Adapt a frozen speech encoder to the 10 kinds of urban sound of UrbanSound8K. See README.md."""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
