"""What the sandbox computes: readers, pipeline, tasks and their worker."""
