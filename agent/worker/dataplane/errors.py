"""What is answered instead of an inference.

Problem         whoever asked must ask otherwise: 4xx
└── NotHere     a model, version or path that this slot does not serve: 404

A model that fails is `InferenceFailed` of the engine: 500, and nothing else is.
"""


class Problem(Exception):
    """The text says what is wrong and what would be right."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class NotHere(Problem):
    def __init__(self, text: str) -> None:
        super().__init__(text, 404)
