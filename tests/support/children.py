"""The processes that an agent has: its workers, and the feeders that ask them."""

import psutil


def workers(pid: int) -> list[psutil.Process]:
    return _running(pid, "wherry.agent.worker")


def feeders(pid: int) -> list[psutil.Process]:
    return _running(pid, "wherry.agent.feeder")


def _running(pid: int, module: str) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children():
        try:
            if module in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue  # gone meanwhile, or a zombie
    return found
