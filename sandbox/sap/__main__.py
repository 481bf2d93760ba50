"""`python -m sandbox.sap`: the simulated SAP system on a port of its own."""

from sandbox.kit.simulator import serve
from sandbox.sap.simulator import SapSimulator

if __name__ == "__main__":
    raise SystemExit(serve(SapSimulator))
