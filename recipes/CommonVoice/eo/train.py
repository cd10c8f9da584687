"""Adapt a frozen speech encoder to Esperanto: CTC on Common Voice.

python train.py hparams/train.yaml --data_folder /path/to/cv-corpus-13.0-2023-03-09
python train.py hparams/train.yaml --data_folder ... --adapter linear_probe
torchrun --nproc_per_node 2 train.py hparams/train.yaml --data_folder ...
"""

import sys

from mambadapter.tasks.ctc import main

if __name__ == "__main__":
    main(sys.argv[1:])
