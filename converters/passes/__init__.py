"""The passes of a conversion: files in, files out, each carried out in a child process and kept by content."""
