"""Adapt a frozen speech encoder to Central Kurdish: CTC on Common Voice. See README.md."""

import sys

from mambadapter.tasks.ctc import main

if __name__ == "__main__":
    main(sys.argv[1:])
