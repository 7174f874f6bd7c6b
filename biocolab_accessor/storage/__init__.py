"""Storage: large arrays in memory and on disk; knows nothing of servers."""
