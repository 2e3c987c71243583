"""The benchmark is no part of the package: it is imported from the tree, behind everything that is installed."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)
