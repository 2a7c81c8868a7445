"""VictoriaMetrics, one node, metrics alone. Its quantiles carry the error of its histogram (vmrange)."""

import json
import time
import urllib.parse

from .. import forms
from ..contract import tree_bytes
from ..servers import HttpServer
from ..wire import free_port

OVER = lambda f, m, sel, w: f"sum({f}({m}{{{sel}}}[{w}]))"


def avg(m, sel, w):
    return f"{OVER('sum_over_time', m, sel, w)} / {OVER('count_over_time', m, sel, w)}"


def quantile(p, m, sel, w):
    return f"histogram_quantile({p}, sum(histogram_over_time({m}{{{sel}}}[{w}])) by (vmrange))"


ORG, APP = 'org="{org}"', 'org="{org}",app="{app}"'
ERR, REQ, RT = "errors_count", "requests_count", "response_time"
HOST = ("cpu.usage", "memory.usage", "disk.usage")
EXPRESSIONS = {
    "Q3": {
        "a": avg(RT, APP, "1d"),
        "b": quantile(0.5, RT, APP, "1d"),
        "c": quantile(0.95, RT, APP, "1d"),
        "d": quantile(0.99, RT, APP, "1d"),
        "e": OVER("sum_over_time", ERR, APP, "1d") + " / " + OVER("sum_over_time", REQ, APP, "1d"),
    },
    "Q4b": {
        "a": OVER("sum_over_time", REQ, "", "1d"),
        "b": OVER("sum_over_time", ERR, "", "1d"),
        "c": quantile(0.95, RT, "", "1d"),
    },
    "Q7": {
        "a": avg(RT, APP, "1m"),
        "b": OVER("sum_over_time", REQ, APP, "1m"),
        "c": OVER("sum_over_time", ERR, APP, "1m"),
    },
    "Q2": {
        f"{n}|{k}": e
        for n in HOST
        for m in [n.replace(".", "_")]
        for k, e in (
            ("a", avg(m, ORG, "1d")),
            ("b", f"max(max_over_time({m}{{{ORG}}}[1d]))"),
            ("c", quantile(0.95, m, ORG, "1d")),
        )
    },
}


class Adapter(HttpServer):
    name, tables, questions = "victoria", ("metrics",), ("Q2", "Q3", "Q4b", "Q7")
    quantile_tolerance = 0.15

    @staticmethod
    def statements():
        for question, expressions in EXPRESSIONS.items():
            yield question, json.dumps(expressions, indent=1)

    def start(self, fresh=False):
        self.port = free_port()
        limits = (
            "retentionPeriod=10y",
            "search.maxPointsPerTimeseries=100000",
            "search.maxSamplesPerQuery=1000000000",
            "import.maxLineLen=209715200",
            "loggerLevel=WARN",
        )
        place = (f"storageDataPath={self.home}/vm", f"httpListenAddr=127.0.0.1:{self.port}")
        self.launch([self.options["victoria"], *(f"-{flag}" for flag in place + limits)])
        self.await_answer("/health")

    def version(self):
        return self.options.get("victoria_version", "?")

    def bulk(self, table, clock):
        files = forms.bodies(self.data, "vm", forms.vm_lines, 500_000)
        with clock:
            self.load("/api/v1/import", files)
            self.connection.ask("GET", "/internal/force_flush")

    def encode(self, table, batch):
        return forms.vm_lines(forms.frame(batch))

    def ingest(self, table, payloads):
        """Acknowledged from memory and on disk within seconds: not durable in the sense of the others."""
        for payload in payloads:
            self.connection.ask("POST", "/api/v1/import", payload, "text/plain")
        self.connection.ask("GET", "/internal/force_flush")

    def settle(self):
        self.connection.ask("GET", "/internal/force_flush")
        self.connection.ask("GET", "/internal/force_merge")
        quiet = 0
        while quiet < 4:
            time.sleep(0.5)
            text = self.connection.ask("GET", "/metrics").decode()
            busy = sum(
                float(l.split()[-1])
                for l in text.splitlines()
                if l.startswith("vm_active_merges") or l.startswith("vm_active_force_merges")
            )
            quiet = quiet + 1 if busy == 0 else 0

    def disk_bytes(self):
        return {"metrics": tree_bytes(self.home + "/vm")}

    def range(self, exprs, p, step_s):
        # Its windows are (t - step, t], so it is asked at the last millisecond of every bucket. Without
        # `nocache` it would round the times and answer from its cache of results.
        step = step_s * 1000
        union = ", ".join(
            f'label_set({e.replace("{org}", p.get("org", "")).replace("{app}", p.get("app", ""))}, "k", "{k}")'
            for k, e in exprs.items()
        )
        q = urllib.parse.urlencode(
            {
                "query": f"union({union})",
                "start": (p["t0"] + step - 1) / 1000,
                "end": (p["t1"] - 1) / 1000,
                "step": step_s,
                "nocache": 1,
            }
        )
        out = {}
        for s in json.loads(self.connection.ask("GET", "/api/v1/query_range?" + q))["data"]["result"]:
            out[s["metric"]["k"]] = {round(float(t) * 1000) + 1 - step: float(v) for t, v in s["values"]}
        return out

    def query(self, q, p):
        r = self.range(EXPRESSIONS[q], p, 60 if q == "Q7" else 86_400)
        if q == "Q2":
            return [
                (d, n, r[n + "|a"][d], r[n + "|b"][d], r[n + "|c"][d])
                for n in HOST
                if n + "|a" in r
                for d in r[n + "|a"]
            ]
        keys = list(EXPRESSIONS[q])
        return [(d, *(r[k].get(d) for k in keys)) for d in r.get(keys[0], {})]
