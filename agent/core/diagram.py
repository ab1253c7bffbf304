"""The page docs/reference/slot-state-machine.md, made from the tables; a test keeps it in step."""

from wherry.agent.core.record import REST
from wherry.agent.core.recovery import RECOVERY
from wherry.agent.core.slot import TABLE, Row, Table

_HEAD = """\
# The state machine of a slot

Made from the tables in `agent/core/slot.py` and `agent/core/recovery.py` by `python -m wherry.agent.core.diagram`.
`home` is where a slot rests: `running` with an incumbent that works, `safe-mode` with one that failed, `empty` with
none.
The record is saved before the actions are carried out.
"""


def page() -> str:
    """The whole page as Markdown with one Mermaid diagram and two tables."""
    parts = [_HEAD, "```mermaid", *_mermaid(), "```", ""]
    parts += ["## On an event", "", *_rows(TABLE), "", "## On a start after a power cut", "", *_rows(RECOVERY), ""]
    return "\n".join(parts)


def _mermaid() -> list[str]:
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, event), row in TABLE.items():
        if row.to != state:
            edges.setdefault((state, row.to), []).append(event)
    names = {_id(name): name for edge in edges for name in edge}
    lines = ["stateDiagram-v2", "    [*] --> empty"]
    lines += [f'    state "{name}" as {key}' for key, name in names.items() if key != name]
    lines += ["    state home <<choice>>", *(f"    home --> {_id(rest)}" for rest in REST)]
    lines += [f"    {_id(a)} --> {_id(b)}: {', '.join(events)}" for (a, b), events in edges.items()]
    return lines


def _rows(table: Table) -> list[str]:
    lines = ["| state | event | next | record | actions |", "|---|---|---|---|---|"]
    return lines + [_row(state, event, row) for (state, event), row in table.items()]


def _row(state: str, event: str, row: Row) -> str:
    changes = ", ".join(effect.__name__.replace("_", " ") for effect in row.effects)
    return f"| {state} | {event} | {row.to} | {changes} | {', '.join(row.actions)} |"


def _id(name: str) -> str:
    return name.replace("-", "_")


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  the page is what this command is for
