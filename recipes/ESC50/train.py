"""Adapt a frozen speech encoder to the 50 kinds of environmental sound of ESC-50.

python train.py hparams/train.yaml --data_folder /path/to/ESC-50-master --test_fold 1
python train.py hparams/train.yaml --data_folder ... --adapter linear_probe
torchrun --nproc_per_node 2 train.py hparams/train.yaml --data_folder ...
"""

import sys

from mambadapter.tasks.classification import main

if __name__ == "__main__":
    main(sys.argv[1:])
