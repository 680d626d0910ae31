"""The cheapest HTTP server that our clients and curl can be compared against: sends a file's bytes, throws away what comes.

`python -m bench.plain_server PORT FOLDER`. A thread for each connection. GET is a file of the folder by `sendfile`; PUT is
taken and thrown away; POST, HEAD and PATCH are as much of Tus 1.0.0 as one client at a time needs.
"""

import socketserver
import sys
from pathlib import Path

READ_BYTES = 1024 * 1024


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.folder = folder


class _Connection(socketserver.StreamRequestHandler):
    rbufsize = READ_BYTES
    server: _Server

    def handle(self) -> None:
        while line := self.rfile.readline():
            method, target, _ = line.decode("latin-1").split()
            self._answer(method, self.server.folder / target.removeprefix("/"), self._headers())

    def _headers(self) -> dict[str, str]:
        headers = {}
        while (line := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def _answer(self, method: str, path: Path, headers: dict[str, str]) -> None:
        taken = self._throw_away(int(headers.get("content-length", "0")))
        if method == "GET" and path.is_file():
            self._send(200, length=path.stat().st_size)
            with path.open("rb") as file:
                self.connection.sendfile(file)
        elif method == "POST":
            self._send(201, "Location: /upload")
        elif method == "PATCH":
            self._send(204, f"Upload-Offset: {int(headers['upload-offset']) + taken}")
        else:
            self._send(200 if method == "PUT" else 404)

    def _throw_away(self, count: int) -> int:
        buffer = memoryview(bytearray(READ_BYTES))
        left = count
        while left:
            got = self.rfile.readinto(buffer[: min(left, READ_BYTES)])
            if not got:
                raise ConnectionError("the body was cut")
            left -= got
        return count

    def _send(self, status: int, *headers: str, length: int = 0) -> None:
        lines = (f"HTTP/1.1 {status} -", *headers, f"Content-Length: {length}", "", "")
        self.connection.sendall("\r\n".join(lines).encode("ascii"))


if __name__ == "__main__":
    with _Server(int(sys.argv[1]), Path(sys.argv[2])) as server:
        server.serve_forever()
