"""The agent's decisions: values in, values or actions out. No clock, no chance, no I/O."""
