"""Files, matrices and values: what is written, read and kept, to the bit."""
