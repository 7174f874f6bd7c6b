"""The sandbox misbehaves on request, keeps to its limits and writes down every request."""
