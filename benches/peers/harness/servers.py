"""A server peer that is spoken to over HTTP: started as a child, asked over one kept connection."""

import subprocess
import time

from .contract import Peer
from .wire import Canned, Connection, post_files

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 120
# The first pass over the parameter sets is not timed.
FLOOR_PASSES = 4


class HttpServer(Peer):
    """What the adapters of HTTP servers share."""

    in_process = False
    headers = {}

    def connect(self):
        return Connection(self.port, self.headers)

    def launch(self, command, **options):
        """Starts the server; its messages go to `log` in the peer's directory."""
        with open(self.home + "/log", "ab") as log:
            self.process = subprocess.Popen(command, **({"stdout": log, "stderr": log} | options))

    def await_answer(self, path):
        """Waits until the server answers, and keeps the connection."""
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.connection = self.connect()
                self.connection.ask("GET", path)
                self.connection.recorded = {}
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the server did not start, see {self.home}/log")

    def load(self, path, files, connections=2, content_type="text/plain"):
        """Sends prebuilt bodies over several connections."""
        post_files(self.connect, path, [files[k::connections] for k in range(connections)], content_type)

    def pids(self):
        return [self.process.pid] if self.process.poll() is None else []

    def floor(self, question, parameter_sets):
        """The same requests, the same bytes back from a trivial server, the same reading of them."""
        canned = Canned(self.connection.recorded)
        ours, times = self.connection, []
        self.connection = Connection(canned.port, self.headers)
        try:
            for turn in range(FLOOR_PASSES):
                for parameters in parameter_sets:
                    begin = time.perf_counter()
                    self.query(question, parameters)
                    if turn:
                        times.append(time.perf_counter() - begin)
        finally:
            self.connection.close()
            self.connection = ours
            canned.stop()
        return sorted(times)[len(times) // 2]

    def stop(self):
        """A SIGTERM and a wait; a server that exits with an error is an error."""
        self.connection.close()
        self.process.terminate()
        if self.process.wait(timeout=STOP_TIMEOUT_S) not in self.clean_exits:
            raise RuntimeError(f"the server exited with {self.process.returncode}, see {self.home}/log")

    clean_exits = (0, -15)
