"""Adapt a frozen speech encoder to your own transcribed recordings: CTC on characters. See README.md."""

import sys

from mambadapter.tasks.ctc import main

if __name__ == "__main__":
    main(sys.argv[1:])
