"""Adapt a frozen speech encoder to the 31 intents of Fluent Speech Commands.

python train.py hparams/train.yaml --data_folder /path/to/fluent_speech_commands_dataset
python train.py hparams/train.yaml --data_folder ... --adapter linear_probe
torchrun --nproc_per_node 2 train.py hparams/train.yaml --data_folder ...
"""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
