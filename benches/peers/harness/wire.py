"""A small HTTP/1.1 client for every peer that is a server, and the trivial server that is the floor.

The client does no more than the answers need, so that what is measured is the server. It keeps the bytes
of each conversation; `Canned` plays them back from a process of its own.
"""

import multiprocessing
import socket
import threading

TIMEOUT_S = 600


class Connection:
    """One keep-alive connection to a server on this machine."""

    def __init__(self, port, headers=None):
        self.port = port
        self.headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        # Request -> answer, as bytes, when it is a dict.
        self.recorded = None
        # The `Server-Timing` of the last answer, or None.
        self.timing = None
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method, path, body=b"", content_type="application/json"):
        """The body of the answer; `RuntimeError` for a status that is no success."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{self.headers}"
        if body:
            head += f"Content-Type: {content_type}\r\n"
        if body or method == "POST":
            head += f"Content-Length: {len(body)}\r\n"
        request = head.encode() + b"\r\n" + body
        self.socket.sendall(request)
        status, answer, raw = self._receive()
        if self.recorded is not None:
            self.recorded[request] = raw
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:400]!r}")
        return answer

    def _receive(self):
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        self.timing = _header(head, b"server-timing:")
        status, body = int(head.split(b" ", 2)[1]), end + 4
        if b"transfer-encoding: chunked" in head:
            return self._chunks(status, data, body)
        mark = head.find(b"content-length:")
        length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
        pieces, have = [data], len(data)
        while have < body + length:
            pieces.append(self._more())
            have += len(pieces[-1])
        data = b"".join(pieces)
        return status, data[body:], data

    def _chunks(self, status, data, at):
        out = []
        while True:
            while (end := data.find(b"\r\n", at)) < 0:
                data += self._more()
            length = int(data[at:end].split(b";")[0], 16)
            at = end + 2
            while len(data) < at + length + 2:
                data += self._more()
            if length == 0:
                return status, b"".join(out), data
            out.append(data[at : at + length])
            at += length + 2

    def _more(self):
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece

    def close(self):
        self.socket.close()


def _header(head, name):
    """The value of a header in the lower-case head of an answer, or None."""
    at = head.find(b"\r\n" + name)
    return None if at < 0 else head[at + 2 + len(name) :].split(b"\r\n", 1)[0].strip().decode()


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def post_files(connect, path, groups, content_type, each=lambda answer: None):
    """Sends files as bodies, the groups side by side over a connection each, a group's files in order."""
    errors = []

    def send(files):
        connection = connect()
        try:
            for name in files:
                if errors:
                    return
                with open(name, "rb") as body:
                    each(connection.ask("POST", path, body.read(), content_type))
        except Exception as error:  # handed to the caller below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=(files,)) for files in groups if files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class Canned:
    """A process that answers known requests with known bytes and does nothing else."""

    def __init__(self, recorded):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.process = context.Process(target=_play_back, args=(theirs, recorded), daemon=True)
        self.process.start()
        self.port = ours.recv()

    def stop(self):
        self.process.terminate()
        self.process.join()


def _play_back(pipe, recorded):
    # Requests differ by the port in `Host` alone from what was recorded.
    answers = {_without_host(request): answer for request, answer in recorded.items()}
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = b""
            while piece := connection.recv(1 << 20):
                data += piece
                answer = answers.get(_without_host(data))
                if answer is not None:
                    connection.sendall(answer)
                    data = b""


def _without_host(request):
    start = request.find(b"Host: ")
    return request[:start] + request[request.find(b"\r\n", start) :]
