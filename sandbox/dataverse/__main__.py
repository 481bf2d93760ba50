"""Run the Dataverse simulator: `python -m sandbox.dataverse --port 7082`."""

import sys

from sandbox.dataverse.simulator import Dataverse
from sandbox.kit.simulator import serve

if __name__ == "__main__":
    sys.exit(serve(Dataverse))
