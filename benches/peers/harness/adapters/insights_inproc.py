"""Insights in process: the engine as a library in one program, no HTTP, no JSON in what is timed.

The program is `insights-bench peer`; it speaks lines of JSON with this adapter and takes its own times. Bodies become
rows by the server's parser before the clock starts, as other engines in process are given Arrow batches.
"""

import json
import os
import subprocess

from .. import forms
from ..contract import QUESTIONS
from . import insights

# Records that are ready in memory before the clock starts: some hundred MiB of rows.
READY_RECORDS = 400_000


class Adapter(insights.Adapter):
    name = "insights-inproc"
    in_process = True

    @staticmethod
    def statements():
        for question in QUESTIONS:
            yield question, "calls of the engine, see tools/bench/src/peer/questions.rs"

    def start(self, fresh=False):
        self.directory, self.said, self.ids = self.home + "/data", None, {} if fresh else self.arrivals()
        command = [self.options["bench"], "peer", "--data-dir", self.directory]
        with open(self.home + "/log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.hello = self.receive()

    def version(self):
        return self.hello["version"]

    def tell(self, **wish):
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        return self.receive()

    def receive(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended, see {self.home}/log")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def bulk(self, table, clock):
        """Some bodies at a time: read without the clock, then appended and flushed under it."""
        groups = forms.insights_bodies(self.data, table, insights.BATCH_RECORDS, insights.CONNECTIONS)
        taken, each = 0, READY_RECORDS // insights.BATCH_RECORDS // insights.CONNECTIONS
        for first in range(0, max(map(len, groups)), each):
            files = [group[first : first + each] for group in groups]
            taken += self.tell(do="read", stream=table, files=files)["rows"]
            with clock:
                self.tell(do="append")
                # Or the next reading, which no clock sees, would hide the writing of these rows.
                self.tell(do="flush")
        if taken != self.rows_of(table):
            raise RuntimeError(f"{table}: {taken} of {self.rows_of(table)} records were taken")

    def encode(self, table, batch):
        """A body in a file: what is ready must not depend on the pipe."""
        os.makedirs(self.home + "/bodies", exist_ok=True)
        path = f"{self.home}/bodies/{table}-{len(os.listdir(self.home + '/bodies'))}"
        with open(path, "wb") as file:
            file.write(forms.insights_lines(table, forms.frame(batch)))
        return table, path

    def ingest(self, table, payloads):
        """One append a body, each durable before the next; reading the bodies is in the time, as over HTTP."""
        for stream, path in payloads:
            self.tell(do="read", stream=stream, files=[[path]])
            self.tell(do="append")

    def settle(self):
        self.tell(do="compact")

    def query(self, question, parameters):
        self.said = answer = self.tell(do="ask", question=question, parameters=parameters)
        rows = answer.pop("rows")
        if question in ("Q5", "Q8"):
            for row in rows:
                row[1] = self.ids[parameters["org"]][row[1] - 1]
        return rows

    def took(self):
        return self.said["seconds"]

    def floor(self, question, parameter_sets):
        return None

    def stop(self):
        """The end of its input: it flushes, closes and ends."""
        self.process.stdin.close()
        if self.process.wait(timeout=120) != 0:
            raise RuntimeError(f"the program exited with {self.process.returncode}, see {self.home}/log")
