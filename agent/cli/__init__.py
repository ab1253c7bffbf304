"""What the person at the board can ask and do: `wherry-agent status`, `doctor` and `reset`, one command a file.

They work beside a running agent and without one, and print plain text: there is no Rich on a board.
"""
