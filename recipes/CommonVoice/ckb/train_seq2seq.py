"""Adapt a frozen Whisper to Central Kurdish: cross-entropy on its tokens, on Common Voice. See README.md."""

import sys

from mambadapter.tasks.seq2seq import main

if __name__ == "__main__":
    main(sys.argv[1:])
