"""What a sandbox computes, in a process of its own."""
