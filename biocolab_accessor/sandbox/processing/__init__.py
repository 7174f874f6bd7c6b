"""Processing of submissions: readers, the scanpy pipeline, tasks and their worker."""
