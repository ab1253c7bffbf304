"""The agent: a small supervisor, and one disposable worker process a slot, on every board."""
