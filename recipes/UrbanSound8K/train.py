"""Adapt a frozen speech encoder to the 10 kinds of urban sound of UrbanSound8K.

python train.py hparams/train.yaml --data_folder /path/to/UrbanSound8K --test_fold 1
python train.py hparams/train.yaml --data_folder ... --adapter linear_probe
torchrun --nproc_per_node 2 train.py hparams/train.yaml --data_folder ...
"""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
