"""Showing that what came out is right: parity, accuracy, operators, runtimes, golden vectors."""
