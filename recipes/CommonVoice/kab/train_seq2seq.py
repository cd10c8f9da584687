"""Adapt a frozen Whisper to Kabyle: cross-entropy on its tokens, on Common Voice.

python train_seq2seq.py hparams/seq2seq.yaml --data_folder /path/to/cv-corpus-13.0-2023-03-09
python train_seq2seq.py hparams/seq2seq.yaml --data_folder ... --adapter lora --adapt both
torchrun --nproc_per_node 2 train_seq2seq.py hparams/seq2seq.yaml --data_folder ...
"""

import sys

from mambadapter.tasks.seq2seq import main

if __name__ == "__main__":
    main(sys.argv[1:])
