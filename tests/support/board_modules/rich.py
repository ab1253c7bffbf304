"""Stands before the `rich` of a developer's environment: boards have none, and structlog takes it where it finds it."""

raise ImportError("boards have no rich")
