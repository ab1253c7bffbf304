"""`wherry controller`: run one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from wherry.controller.config import BrokerKind, ControllerConfig, RunFile
from wherry.controller.errors import Invalid
from wherry.protocol.types import is_name

MAX_PORT = 65535


def controller(
    data_dir: Annotated[Path, typer.Option(help="Everything that it keeps; made where it is missing.")] = Path(
        "wherry-data"
    ),
    database: Annotated[
        str | None,
        typer.Option(
            envvar="WHERRY_DATABASE",
            show_envvar=True,
            show_default=False,
            help="A PostgreSQL database, postgresql://USER@HOST/NAME; a file in the data directory without it.",
        ),
    ] = None,
    shared_dir: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="A directory that several controllers on one database share, for artifacts; the data directory "
            "without it.",
        ),
    ] = None,
    http_port: Annotated[int, typer.Option(help="For the HTTP API; 0 takes a free one.")] = 8470,
    mqtt_port: Annotated[int, typer.Option(help="For the broker; 0 takes a free one.")] = 1883,
    fleet: Annotated[str, typer.Option(help="Name of the fleet; its agents are configured with the same.")] = "home",
    broker: Annotated[
        BrokerKind, typer.Option(help="auto: mosquitto where it is installed, else amqtt, which is built in.")
    ] = "auto",
    mqtt_host: Annotated[str, typer.Option(help="Where the broker is, with --broker external.")] = "127.0.0.1",
    host: Annotated[str, typer.Option(help="Address that the HTTP API and our broker listen on.")] = "127.0.0.1",
    insecure_bind: Annotated[
        bool,
        typer.Option(
            "--insecure-bind",
            help="Allow a --host that other machines reach. The API asks for tokens there, but the broker lets "
            "anybody in, and nothing is encrypted.",
        ),
    ] = False,
    advertise_host: Annotated[
        str | None, typer.Option(help="How devices name this machine, where --host is 0.0.0.0.")
    ] = None,
    conversion_workers: Annotated[
        int, typer.Option(help="Conversions at a time; each takes gigabytes. 0: they wait.", min=0, max=64)
    ] = 1,
    trust_conversion_code: Annotated[
        bool,
        typer.Option(
            "--trust-conversion-code",
            help="Let conversions run code of whoever asks for them: package.module:callable, and pickles.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Once it answers, print where as one line of JSON.")] = False,
) -> None:
    """Run the controller: broker, rollout engine and HTTP API, until Ctrl-C.

    Where it answers is written to `controller.json` in the data directory, once it does.

    Example: wherry controller --data-dir /var/lib/wherry

    Example on free ports: wherry controller --data-dir ./data --http-port 0 --mqtt-port 0
    """
    import asyncio

    from wherry.controller.service import run

    config = ControllerConfig(
        data_dir=data_dir.absolute(),
        database=database,
        shared_dir=shared_dir.absolute() if shared_dir is not None else None,
        fleet=_checked_fleet(fleet),
        host=host,
        insecure_bind=insecure_bind,
        advertise_host=advertise_host,
        http_port=_checked_port(http_port, "--http-port"),
        broker=broker,
        mqtt_host=mqtt_host,
        mqtt_port=_checked_port(mqtt_port, "--mqtt-port"),
        conversion_workers=conversion_workers,
        trust_conversion_code=trust_conversion_code,
    )
    _log_to_stderr()
    asyncio.run(run(config, _tell_json if json else _tell))


def _tell(running: RunFile) -> None:
    typer.echo(
        f"controller of the fleet {running.fleet}: {running.url}, "
        f"broker {running.broker} at {running.mqtt_host}:{running.mqtt_port}; Ctrl-C ends it",
        err=True,
    )


def _tell_json(running: RunFile) -> None:
    from wherry.controller.cli import show

    show.as_json_line(running)
    sys.stdout.flush()


def _checked_fleet(fleet: str) -> str:
    if not is_name(fleet):
        raise Invalid(f"not a name of a fleet: {fleet!r}", "use lower case letters, digits, dots and hyphens")
    return fleet


def _checked_port(port: int, option: str) -> int:
    if not 0 <= port <= MAX_PORT:
        raise Invalid(f"{option} {port} is not a port", f"use 1 to {MAX_PORT}, or 0 for a free one")
    return port


def _log_to_stderr() -> None:
    import logging

    import structlog

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            # By default it draws every value of every frame: that takes seconds, and puts tokens into the log.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
