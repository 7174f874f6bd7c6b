"""Files, matrices and values: what is written, read and cached, exact to the bit."""
