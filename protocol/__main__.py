"""`python -m wherry.protocol` writes the generated schemas into `protocol/schemas/v1`."""

from pathlib import Path

from wherry.protocol.schema import schemas


def main() -> None:
    root = Path(__file__).resolve().parent / "schemas" / "v1"
    for path, data in schemas().items():
        file = root / f"{path}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


if __name__ == "__main__":
    main()
