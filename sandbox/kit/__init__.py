"""What every simulator stands on: serving, state with a past, faults, outbound events, exact JSON, tokens."""
