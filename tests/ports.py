"""Free ports for processes that a test starts, which no stack and no other test process takes."""

from sandbox.ports import ClaimedPorts

_CLAIMS = ClaimedPorts({})


def free_port() -> int:
    """A port of 127.0.0.1 that is kept for this test process until it ends."""
    return _CLAIMS.claim("functions", 30)
