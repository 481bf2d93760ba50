"""The review before a go-live or an upgrade: gaps of ownership, policies that disagree, drift of remote metadata."""
