"""How fast we send, beside other tools in the same run: `python benchmarks/send.py`.

docs/performance.md tells how to read what it prints.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.command import main

if __name__ == "__main__":
    sys.exit(main())
