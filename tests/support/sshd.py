"""An SSH server on loopback, for one user and as long as a test; asyncssh is both sides of SSH."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh

from support.slurm import wait_until


@contextmanager
def sshd(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the connect_options of a server in another process; `folder`/home is the user's home."""
    (folder / "home").mkdir(parents=True)
    for name in ("host", "user"):
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(folder / name))
        asyncssh.read_private_key(str(folder / name)).write_public_key(str(folder / f"{name}.pub"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.sshd", str(folder)],
            cwd=Path(__file__).parents[1],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until((folder / "port").exists, seconds=1200, what="an SSH server")
        port = int((folder / "port").read_text())
        known = folder / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
        yield {"port": port, "username": "user", "client_keys": [str(folder / "user")], "known_hosts": str(known)}
    finally:
        process.terminate()
        process.wait(30)


async def _handle(process: Any, home: Path) -> None:
    child = await asyncio.create_subprocess_shell(
        process.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        start_new_session=True,
    )
    try:
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        ended = asyncio.create_task(child.wait())
        gone = asyncio.create_task(process.channel.wait_closed())
        await asyncio.wait([ended, gone], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            process.exit(ended.result())
            await process.wait_closed()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)


async def _serve(folder: Path) -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "user.pub"),
        process_factory=lambda process: _handle(process, folder / "home"),
    )
    (folder / "port.new").write_text(str(server.get_port()))
    (folder / "port.new").rename(folder / "port")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
