"""Connection: which servers to talk to, and with which tokens."""
