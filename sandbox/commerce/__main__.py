"""`python -m sandbox.commerce`: the simulated Commerce on a port of its own."""

from sandbox.commerce.simulator import CommerceSimulator
from sandbox.kit.simulator import serve

if __name__ == "__main__":
    raise SystemExit(serve(CommerceSimulator))
