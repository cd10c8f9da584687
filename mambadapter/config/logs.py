"""What a run says: on the console through the progress bar, and with times in ``log.txt``."""

import logging
import sys
from pathlib import Path

import transformers
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import TqdmCompatibleStreamHandler

# Libraries whose notes would bury the recipe's own.
_CHATTY = ("speechbrain", "transformers", "httpx", "numba", "torio", "matplotlib")


def start_logging(folder: Path) -> None:
    """Send log messages to the console and to ``log.txt``; only the main process speaks."""
    transformers.utils.logging.disable_progress_bar()
    root = logging.getLogger()
    if not if_main_process():
        root.setLevel(logging.ERROR)
        return
    console = TqdmCompatibleStreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for handler in root.handlers:
        handler.close()
    root.handlers = [console, file]
    root.setLevel(logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # SpeechBrain gives these a level of their own.
    logging.getLogger("speechbrain.core").setLevel(logging.WARNING)
