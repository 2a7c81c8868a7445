"""InfluxDB 1, metrics alone.

Users and sessions do not fit it: as tags they make a series each, as fields a distinct count reads every
string. So events and audit records are left out.
"""

import json
import subprocess
import time
import urllib.parse

from .. import forms
from ..contract import tree_bytes
from ..servers import HttpServer
from ..wire import free_port

CONF = """reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{home}/meta"
[data]
dir = "{home}/data"
wal-dir = "{home}/wal"
index-version = "inmem"
cache-max-memory-size = "4g"
cache-snapshot-write-cold-duration = "5s"
compact-full-write-cold-duration = "10s"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
max-body-size = 0
[logging]
level = "warn"
"""
T = "time >= {t0}ms AND time < {t1}ms"
HOST = ("cpu.usage", "memory.usage", "disk.usage")
ERR, REQ, RT = '"errors.count"', '"requests.count"', '"response.time"'
SQL = {
    "Q2": "SELECT "
    + ", ".join(f'mean("{n}"), max("{n}"), percentile("{n}", 95)' for n in HOST)
    + f" FROM m WHERE org = '{{org}}' AND {T} GROUP BY time(1d) fill(none)",
    "Q3": f"SELECT mean({RT}), percentile({RT}, 50), percentile({RT}, 95), percentile({RT}, 99), sum({ERR}) / sum({REQ}) FROM m WHERE org = '{{org}}' AND app = '{{app}}' AND {T} GROUP BY time(1d) fill(none)",
    "Q4b": f"SELECT sum({REQ}), sum({ERR}), percentile({RT}, 95) FROM m WHERE {T} GROUP BY time(1d) fill(none)",
    "Q7": f"SELECT mean({RT}), sum({REQ}), sum({ERR}) FROM m WHERE org = '{{org}}' AND app = '{{app}}' AND {T} GROUP BY time(1m) fill(none)",
}


class Adapter(HttpServer):
    name, tables, questions = "influx", ("metrics",), ("Q2", "Q3", "Q4b", "Q7")

    @staticmethod
    def statements():
        yield "configuration", CONF
        yield from SQL.items()

    def start(self, fresh=False):
        self.port = free_port()
        path = self.home + "/influx.conf"
        with open(path, "w") as file:
            file.write(CONF.format(home=self.home, port=self.port, rpc=free_port()))
        self.launch([self.options["influx"], "-config", path])
        self.await_answer("/ping")
        if fresh:
            self.connection.ask("POST", "/query?" + urllib.parse.urlencode({"q": "CREATE DATABASE b"}))

    def version(self):
        return subprocess.check_output([self.options["influx"], "version"], text=True).split()[1]

    def bulk(self, table, clock):
        """Line protocol, 50,000 rows (some 13,000 lines) a request, two connections."""
        files = forms.bodies(self.data, "influx", forms.influx_lines, 50_000)
        with clock:
            self.load("/write?db=b&precision=ms", files)

    def encode(self, table, batch):
        return forms.influx_lines(forms.frame(batch))

    def ingest(self, table, payloads):
        """Its log is synced before each answer."""
        for payload in payloads:
            self.connection.ask("POST", "/write?db=b&precision=ms", payload, "text/plain")

    def settle(self):
        """What is in memory is written after 5 s without writes, compacted in full after 10 s."""
        last, same = -1, 0
        while same < 8:
            time.sleep(2.5)
            n = tree_bytes(self.home + "/data") + tree_bytes(self.home + "/wal")
            same = same + 1 if n == last else 0
            last = n

    def disk_bytes(self):
        return {"metrics": tree_bytes(self.home + "/data") + tree_bytes(self.home + "/wal")}

    def query(self, q, p):
        r = json.loads(
            self.connection.ask(
                "GET", "/query?" + urllib.parse.urlencode({"db": "b", "epoch": "ms", "q": SQL[q].format(**p)})
            )
        )["results"][0]
        if "error" in r:
            raise RuntimeError(r["error"])
        rows = r["series"][0]["values"] if "series" in r else []
        if q == "Q2":
            return [
                (v[0], n, *v[1 + 3 * i : 4 + 3 * i])
                for v in rows
                for i, n in enumerate(HOST)
                if v[1 + 3 * i] is not None
            ]
        return rows
