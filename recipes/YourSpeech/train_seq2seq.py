"""Adapt a frozen Whisper to your own transcribed recordings: cross-entropy on its tokens. See README.md."""

import sys

from mambadapter.tasks.seq2seq import main

if __name__ == "__main__":
    main(sys.argv[1:])
