"""Runs the sandbox alone: `python -m sandbox`; prints where it listens and with which keys, and stops on ^C."""

import argparse
import asyncio
import json
import signal
import sys
from typing import TextIO

from sandbox.server import Sandbox


def main(arguments: list[str] | None = None, *, out: TextIO = sys.stdout) -> int:
    """Serves until SIGINT or SIGTERM; 1 when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Simulated Clarius and Aurabox.")
    parser.add_argument("--clarius-port", type=int, default=0, metavar="PORT", help="default: a free one")
    parser.add_argument("--media-port", type=int, default=0, metavar="PORT")
    parser.add_argument("--aurabox-port", type=int, default=0, metavar="PORT")
    parser.add_argument("--lift-port", type=int, default=0, metavar="PORT")
    parser.add_argument("--notification-url", default="", metavar="URL", help="the bridge's webhook")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    options = parser.parse_args(arguments)
    ports = {name: getattr(options, f"{name}_port") for name in ("clarius", "media", "aurabox", "lift")}
    sandbox = Sandbox(ports=ports, notification_url=options.notification_url)
    try:
        asyncio.run(_serve(sandbox, as_json=options.json, out=out))
    except OSError as problem:
        sys.stderr.write(f"cannot listen: {problem}\n")
        return 1
    return 0


async def _serve(sandbox: Sandbox, *, as_json: bool, out: TextIO) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with sandbox:
        customer = sandbox.add_customer()
        team = sandbox.team()
        described: dict[str, object] = {
            "clarius_url": sandbox.clarius_url,
            "media_url": sandbox.media_url,
            "aurabox_url": sandbox.aurabox_url,
            "lift_url": sandbox.lift_url,
            "control_url": f"{sandbox.clarius_url}/_sandbox",
            "customer": customer,
            "team": team.name,
            "team_key": team.key,
            "environment": sandbox.settings_for_bridge,
        }
        out.write((json.dumps(described) if as_json else _text(described)) + "\n")
        out.flush()
        await stop.wait()


def _text(described: dict[str, object]) -> str:
    environment = described["environment"]
    assert isinstance(environment, dict)
    lines = [
        f"{name.replace('_', ' '):<14} {value}" for name, value in described.items() if name != "environment"
    ]
    lines += ["", "Point a bridge at it:", *(f"  export {k}={v}" for k, v in environment.items()), ""]
    lines.append("Submit an exam:")
    lines.append(f'  curl -d \'{{"customer": "{described["customer"]}"}}\' {described["control_url"]}/exams')
    lines.append("^C stops it.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
