"""`make demo`: the first voyage, told on the terminal while it happens.

    python -m examples.voyage          everything is stopped at the end
    python -m examples.voyage --keep   it goes on, and where to look is said
    python -m examples.voyage --stop   ends what --keep left

Exit status 0 only if every step came out as told.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape

from examples.voyage import summary
from examples.voyage.fleet import Agent, six
from examples.voyage.harbour import Harbour
from examples.voyage.shipyard import Shipyard
from examples.voyage.story import ORDERS, QUIET, STEPS, Step, Voyage
from examples.voyage.waiting import NotAsTold
from wherry.controller.errors import ControllerError

DIRECTORY = Path(".wherry/demo")
STOP_LIMIT_S = 15.0

console = Console(highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="The first voyage of Wherry.")
    parser.add_argument("--keep", action="store_true", help="leave the controller and the agents running at the end")
    parser.add_argument("--stop", action="store_true", help="end what an earlier --keep left running")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="made anew (default: %(default)s)")
    options = parser.parse_args(arguments)
    directory = options.directory.absolute()
    if directory.exists() and not (directory / "shipyard").is_dir():
        parser.error(f"{directory} is something else's; name a directory that does not exist")
    stop_leftovers(directory)
    if options.stop:
        return 0
    shutil.rmtree(directory, ignore_errors=True)
    shipyard = Shipyard(directory / "shipyard", ORDERS)
    harbour = Harbour(directory / "controller", lambda command: console.print(f"[dim]$ {escape(command)}[/]"))
    agents = six(directory)
    kept = False
    try:
        ok = sail(Voyage(shipyard, harbour, agents), directory)
        kept = options.keep
    finally:
        shipyard.close()
        if not kept:
            end(agents, harbour)
    if kept:
        tell_where(harbour, directory)
    return 0 if ok else 1


def sail(voyage: Voyage, directory: Path, story: Sequence[Step] = STEPS) -> bool:
    """Every step in turn until one does not come out as told; then the table and the summary."""
    started_s = time.monotonic()
    steps: list[summary.Row] = []
    for number, (name, step) in enumerate(story, start=1):
        console.rule(f"[bold]{number} of {len(story)}  {escape(name)}", align="left")
        begun_s = time.monotonic()
        ok, detail = _take(voyage, step)
        steps.append({"name": name, "ok": ok, "detail": detail, "seconds": round(time.monotonic() - begun_s, 1)})
        console.print(f"[green]as told:[/] {escape(detail)}" if ok else f"[red]not as told:[/] {escape(detail)}")
        if not ok:
            break
    all_ok = len(steps) == len(story) and all(step["ok"] for step in steps)
    seconds = time.monotonic() - started_s
    devices = _rows(voyage)
    summary.write(directory / "summary.json", steps, devices, ok=all_ok, seconds=seconds)
    console.rule("[bold]what happened", align="left")
    summary.show(console, devices)
    outcome = "every step came out as told" if all_ok else f"it ended at step {len(steps)}: {steps[-1]['name']}"
    console.print(f"{outcome}; {seconds:.0f} s; {directory / 'summary.json'}")
    return all_ok


def _take(voyage: Voyage, step: Callable[[Voyage], str]) -> tuple[bool, str]:
    waiting = console.status("under way") if step in QUIET else nullcontext()
    try:
        with waiting:
            return True, step(voyage)
    except NotAsTold as error:
        return False, str(error)
    except ControllerError as error:
        return False, error.line
    except Exception as error:  # noqa: BLE001 - the summary is written whatever happens
        console.print_exception()
        return False, f"{type(error).__name__}: {error}"


def _rows(voyage: Voyage) -> list[summary.Row]:
    try:
        return [
            summary.device_row(name, detail, voyage.unsent.get(name, [])) for name, detail in voyage.details().items()
        ]
    except (ControllerError, NotAsTold):
        return []  # the voyage ended before there was a fleet


def end(agents: Sequence[Agent], harbour: Harbour) -> None:
    for agent in agents:
        agent.stop()
    harbour.close()


def stop_leftovers(directory: Path) -> None:
    """End the controller and the agents of an earlier demonstration in the same directory."""
    found = [process for process in psutil.process_iter() if _works_in(process, directory)]
    for process in found:
        process.terminate()
    for process in psutil.wait_procs(found, STOP_LIMIT_S)[1]:
        process.kill()


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return any(argument.startswith(f"{directory}/") for argument in process.cmdline())
    except psutil.Error:
        return False


def tell_where(harbour: Harbour, directory: Path) -> None:
    console.print(
        f"""
It goes on. To look around:
  export WHERRY_URL={harbour.url}
  .venv/bin/wherry devices
  .venv/bin/wherry devices show pi-1
  .venv/bin/wherry rollout list
  .venv/bin/wherry logs --follow
The controller's log is {harbour.log}; each agent's, {directory / "pi-1" / "agent.log"}.
To end it: make demo-stop""",
        markup=False,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
