"""The first voyage: what `make demo` does, on real digits, with real processes and a real broker."""
