"""The relay with one bug in it: `python -m proof.planted NAME run -c FILE`. The harness must find each of them.

Started by scenes, see `scene.planted`. Each bug is a module beside this one; its `plant` changes the relay as a
careless commit would, in its own process only. One that finds nothing to change must fail, not run a sound relay.
"""

from __future__ import annotations

import sys
from importlib import import_module

from relay.cli.main import main

if __name__ == "__main__":
    import_module(f"proof.planted.{sys.argv.pop(1).replace('-', '_')}").plant()
    main()
