"""Prints what an `.h5` file says of its model, in a process of its own: HDF5 can loop for ever in a damaged file.

Started as `python -m wherry.converters.sources.hdf5_child PATH SECONDS`; it is killed by an alarm after that time.
"""

import json
import signal
import sys


def main() -> None:
    path, limit_s = sys.argv[1:]
    signal.alarm(int(limit_s))
    import h5py

    with h5py.File(path, "r") as file:
        found = {name: _text(file.attrs[name]) for name in ("model_config", "keras_version") if name in file.attrs}
    json.dump(found, sys.stdout)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main()
