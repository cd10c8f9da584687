"""`python -m mambadapter.cli`."""

import sys

from mambadapter.cli import main

sys.exit(main())
