"""Adapt a frozen speech encoder to the 35 words of Speech Commands V2. See README.md."""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
