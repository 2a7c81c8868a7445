"""Insights over HTTP: history through the import route, batches through ingest, questions through reports.

An audit record's place in its organization's log is Insights' own `seq`; the data set's `id` is the place
among all records. Both count arrivals, so the one is told from the other here and no id is sent: an id
that a client gives would be stored and remembered besides.
"""

import datetime
import json
import os
import subprocess
import urllib.parse

import pyarrow.parquet as pq

from .. import forms
from ..contract import TABLES, tree_bytes
from ..servers import HttpServer
from ..wire import post_files

KEY = "peers-superuser-key-0123456789abcdef"
BASE = "/api/insights"
NDJSON = "application/x-ndjson"
# Ingest and import take this many records of a request at most.
BATCH_RECORDS = 10_000
CONNECTIONS = 2
ROUTES = {"events": "track", "metrics": "metrics", "audit": "audit"}
HOST_METRICS = ("cpu.usage", "memory.usage", "disk.usage")
LIVE_METRICS = ("response.time", "requests.count", "errors.count")

ANALYTICS, PERFORMANCE, QUERY = "POST /analytics/", "POST /performance/", "POST /metrics/query/"
WINDOW = {"start_date": "{t0}", "end_date": "{t1}", "group_by": "day"}
# What is asked of which route. Q5 and Q8 are lists: their parameters go into the path.
ASKED = {
    "Q1": (ANALYTICS, {"organization_id": "{org}", "metrics": ["user_activity"], "breakdown": "event_type"}),
    "Q2": (ANALYTICS, {"organization_id": "{org}", "metrics": ["system_performance"]}),
    "Q3": (
        PERFORMANCE,
        {"organization_id": "{org}", "app_id": "{app}", "metrics": ["response_time", "error_rate"]},
    ),
    "Q4a": (ANALYTICS, {"metrics": ["user_activity"]}),
    "Q4b": (ANALYTICS, {"metrics": ["app_metrics"]}),
    "Q6": (
        ANALYTICS,
        {
            "organization_id": "{org}",
            "metrics": ["user_activity"],
            "filters": [["event_data.page", "is", "{page}"], ["event_data.browser", "is", "{browser}"]],
        },
    ),
    "Q7": (
        QUERY,
        {
            "organization_id": "{org}",
            "app_id": "{app}",
            "names": list(LIVE_METRICS),
            "aggregates": ["avg", "sum"],
            "start": "{t0}",
            "end": "{t1}",
            "step": "1m",
        },
    ),
}
Q5 = {"fields": "timestamp,seq,action_type,content_object", "action_prefix": "security.", "limit": 100}
Q8 = {"fields": "timestamp,seq,action_type", "limit": 50}


def instant_ms(text):
    """Epoch milliseconds of an RFC 3339 instant."""
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def filled(value, parameters):
    """A template with its `{name}`s replaced; times as RFC 3339."""
    if isinstance(value, dict):
        return {key: filled(inner, parameters) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, parameters) for inner in value]
    if value in ("{t0}", "{t1}"):
        at = datetime.datetime.fromtimestamp(parameters[value[1:-1]] / 1000, datetime.timezone.utc)
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, str) and value.startswith("{"):
        return parameters[value[1:-1]]
    return value


class Adapter(HttpServer):
    name = "insights"
    headers = {"Authorization": f"Bearer {KEY}"}
    # The server drains, flushes and ends by itself.
    clean_exits = (0,)

    @staticmethod
    def statements():
        for question, (route, body) in ASKED.items():
            yield question, f"{route}\n{json.dumps(body | WINDOW if question != 'Q7' else body)}"
        yield "Q5", f"GET /audit/?{urllib.parse.urlencode(Q5)}&organization_id=&user_id=&start=&end="
        yield "Q8", f"GET /audit/?{urllib.parse.urlencode(Q8)}&organization_id=, then &cursor="

    def start(self, fresh=False):
        self.directory, self.said, self.ids = self.home + "/data", None, {} if fresh else self.arrivals()
        environment = os.environ | {
            "INSIGHTS_SUPERUSER_KEY": KEY,
            "INSIGHTS_LOG": "warn",
            # The data set's days are older than ingest takes by default.
            "INSIGHTS_LATE_WINDOW_DAYS": "3650",
            # Each question is computed each time it is asked.
            "INSIGHTS_REPORT_CACHE_BYTES": "0",
        }
        command = [self.options["server"], "serve", "--listen", "127.0.0.1:0", "--data-dir", self.directory]
        self.launch(command, stdout=subprocess.PIPE, env=environment, text=True)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.port = int(line.rsplit(":", 1)[1])
                break
        else:
            raise RuntimeError(f"the server did not start, see {self.home}/log")
        self.await_answer("/healthz")

    def version(self):
        output = subprocess.check_output([self.options["server"], "--version"], text=True)
        return output.split()[-1]

    def bulk(self, table, clock):
        groups = forms.insights_bodies(self.data, table, BATCH_RECORDS, CONNECTIONS)
        taken = []

        def each(answer):
            counts = json.loads(answer)
            if counts["rejected"]:
                raise RuntimeError(f"records were rejected: {counts['errors'][:3]}")
            taken.append(counts["accepted"])

        with clock:
            post_files(self.connect, f"{BASE}/import/?stream={table}", groups, NDJSON, each)
        if sum(taken) != self.rows_of(table):
            raise RuntimeError(f"{table}: {sum(taken)} of {self.rows_of(table)} records were taken")

    def encode(self, table, batch):
        return forms.insights_lines(table, forms.frame(batch))

    def ingest(self, table, payloads):
        for payload in payloads:
            answer = json.loads(self.connection.ask("POST", f"{BASE}/{ROUTES[table]}/", payload, NDJSON))
            if answer["rejected"] or not answer["durable"]:
                raise RuntimeError(f"a batch was not taken: {answer['errors'][:3]}")

    def settle(self):
        """A stop flushes what is in memory; then all that compaction has to do is done at once."""
        self.stop()
        self.inspect("compact")
        self.start()

    def inspect(self, command):
        """The JSON that `insights-inspect` prints."""
        arguments = [self.options["inspect"], command, self.directory, "--json"]
        done = subprocess.run(arguments, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"insights-inspect {command}: {done.stderr.strip()[:300]}")
        return json.loads(done.stdout)

    def disk_detail(self):
        return self.inspect("stats")

    def disk_bytes(self):
        """Rows with their share of dictionaries and roots; rollups and remembered ids apart."""
        streams = self.disk_detail()["streams"]
        out = {table: streams[table]["bytes"] for table in TABLES}
        out["rollups"] = sum(stream["rollup_bytes"] for stream in streams.values())
        out["directory"] = tree_bytes(self.directory)
        return out

    def query(self, question, parameters):
        if question in ("Q5", "Q8"):
            return self.audit(question, parameters)
        route, template = ASKED[question]
        body = template if question == "Q7" else template | WINDOW
        answer = self.post(route, filled(body, parameters))
        return getattr(self, "rows_" + question.lower())(answer)

    def post(self, route, body):
        method, path = route.split()
        answer = json.loads(self.connection.ask(method, BASE + path, json.dumps(body).encode()))
        self.said = answer["cost"]
        return answer

    def cost(self):
        return self.said

    def list(self, path):
        """A page of a list; how long it took is in a header, the body has no place for it."""
        page = json.loads(self.connection.ask("GET", path))
        if timing := self.connection.timing:
            self.said["elapsed_us"] += float(timing.partition("engine;dur=")[2].split(",")[0] or 0) * 1e3
        return page

    def audit(self, question, parameters):
        self.said = {"elapsed_us": 0.0}
        organization = parameters["org"]
        asked = {"organization_id": organization} | (Q5 if question == "Q5" else Q8)
        if question == "Q5":
            asked |= {"user_id": parameters["user"], "start": parameters["t0"], "end": parameters["t1"]}
        path = f"{BASE}/audit/?{urllib.parse.urlencode(asked)}"
        page = self.list(path)
        records = page["results"]
        if question == "Q8" and page["next_cursor"]:
            path += f"&cursor={urllib.parse.quote(page['next_cursor'])}"
            records += self.list(path)["results"]
        rows = []
        for record in records:
            row = [
                instant_ms(record["timestamp"]),
                self.ids[organization][record["seq"] - 1],
                record["action_type"],
            ]
            if question == "Q5":
                row.append(record["content_object"]["id"])
            rows.append(row)
        return rows

    def arrivals(self):
        """Organization -> the data set's ids of its audit records, in order of arrival."""
        rows = pq.read_table(self.source("audit"), columns=["id", "organization_id"])
        groups = forms.frame(rows).group_by("organization_id", maintain_order=True).agg("id")
        return dict(groups.iter_rows())

    @staticmethod
    def rows_q1(answer):
        rows = []
        for bucket in answer["metrics"]["user_activity"]["series"]:
            if bucket["events"]:
                day = instant_ms(bucket["bucket"])
                rows.append([day, "", bucket["events"], bucket["active_users"], bucket["active_sessions"]])
                rows += [[day, entry["key"], entry["count"], 0, 0] for entry in bucket["breakdown"]]
        return [row for row in rows if row[2]]

    @staticmethod
    def rows_q2(answer):
        series = answer["metrics"]["system_performance"]["series"]
        return [
            [
                instant_ms(bucket["bucket"]),
                name,
                bucket[name]["avg"],
                bucket[name]["max"],
                bucket[name]["p95"],
            ]
            for bucket in series
            for name in HOST_METRICS
            if bucket[name]["avg"] is not None
        ]

    @staticmethod
    def rows_q3(answer):
        families = answer["metrics"]
        rates = {bucket["bucket"]: bucket["rate"] for bucket in families["error_rate"]["series"]}
        return [
            [instant_ms(at["bucket"]), at["avg"], at["p50"], at["p95"], at["p99"], rates[at["bucket"]]]
            for at in families["response_time"]["series"]
            if at["count"]
        ]

    @staticmethod
    def rows_q4a(answer):
        series = answer["metrics"]["user_activity"]["series"]
        return [[instant_ms(at["bucket"]), at["events"], at["active_users"]] for at in series if at["events"]]

    @staticmethod
    def rows_q4b(answer):
        series = answer["metrics"]["app_metrics"]["series"]
        return [
            [instant_ms(at["bucket"]), at["requests"], at["errors"], at["response_time"]["p95"]]
            for at in series
            if at["requests"] or at["response_time"]["p95"] is not None
        ]

    @staticmethod
    def rows_q6(answer):
        series = answer["metrics"]["user_activity"]["series"]
        return [[instant_ms(at["bucket"]), at["events"]] for at in series if at["events"]]

    @staticmethod
    def rows_q7(answer):
        points = {one["name"]: {p["bucket"]: p for p in one["points"]} for one in answer["series"]}
        response, requests, errors = (points.get(name, {}) for name in LIVE_METRICS)
        return [
            [instant_ms(at), response[at]["avg"], requests[at]["sum"], errors[at]["sum"]]
            for at in sorted(response)
            if response[at]["avg"] is not None or requests[at]["sum"]
        ]
