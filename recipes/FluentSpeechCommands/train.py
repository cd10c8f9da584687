"""Adapt a frozen speech encoder to the 31 intents of Fluent Speech Commands. See README.md."""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
