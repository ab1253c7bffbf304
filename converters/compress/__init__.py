"""Making a float model smaller and faster: the passes, and the arithmetic that they follow."""
