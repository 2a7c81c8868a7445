"""SQLite, what a small user would take: a file a table, series apart for metrics, an index for Q6."""

import os
import sqlite3

from .. import forms
from ..contract import TABLES
from ..sql import SqlPeer

SCHEMA = {
    "metrics": "CREATE TABLE metrics.series (series_id INTEGER PRIMARY KEY, organization_id TEXT, app_id TEXT, name TEXT, host TEXT);"
    "CREATE INDEX metrics.s ON series (organization_id, app_id, name);"
    "CREATE TABLE metrics.metrics (series_id INT, ts INT, value REAL, PRIMARY KEY (series_id, ts)) WITHOUT ROWID",
    "events": "CREATE TABLE events.events (organization_id TEXT, user_id TEXT, session_id TEXT, event_type TEXT, event_data TEXT, app_id TEXT, ip TEXT, user_agent TEXT, ts INT)",
    "audit": "CREATE TABLE audit.audit (id INTEGER PRIMARY KEY, organization_id TEXT, user_id TEXT, action TEXT, description TEXT, object_type TEXT, object_id TEXT, ip TEXT, user_agent TEXT, metadata TEXT, severity TEXT, ts INT)",
}
INDEXES = {
    "metrics": [],
    "events": [
        "events.e1 ON events (organization_id, ts)",
        "events.e2 ON events (organization_id, json_extract(event_data,'$.page'), json_extract(event_data,'$.browser'), ts)",
    ],
    "audit": [
        "audit.a1 ON audit (organization_id, ts, id)",
        "audit.a2 ON audit (organization_id, user_id, ts, id)",
    ],
}
COLUMNS = {
    "metrics": ["series_id", "timestamp", "value"],
    "events": [
        "organization_id",
        "user_id",
        "session_id",
        "event_type",
        "event_data",
        "app_id",
        "ip",
        "user_agent",
        "timestamp",
    ],
    "audit": [
        "id",
        "organization_id",
        "user_id",
        "action",
        "description",
        "object_type",
        "object_id",
        "ip",
        "user_agent",
        "metadata",
        "severity",
        "timestamp",
    ],
}
DAYMS = "ts/86400000*86400000"
T = "ts>={t0} AND ts<{t1}"
W = "organization_id='{org}' AND " + T
S = "series_id IN (SELECT series_id FROM series WHERE {0})"
APP = "organization_id='{org}' AND app_id='{app}' AND name='%s'"


def ranked(select, group, source, ps):
    """Interpolated percentiles of `value` per group, with one window pass."""
    keys = ", ".join(group)
    at = (
        lambda p: f"sum(CASE WHEN r=CAST((n-1)*{p} AS INT)+1 THEN value*(1-((n-1)*{p}-CAST((n-1)*{p} AS INT))) WHEN r=CAST((n-1)*{p} AS INT)+2 THEN value*((n-1)*{p}-CAST((n-1)*{p} AS INT)) ELSE 0 END)"
    )
    return (
        f"SELECT {keys}, {select}"
        + "".join(f", {at(p)}" for p in ps)
        + f" FROM (SELECT {keys}, value, row_number() OVER (PARTITION BY {keys} ORDER BY value) r, count(*) OVER (PARTITION BY {keys}) n FROM ({source})) GROUP BY {keys}"
    )


def counter(name, where):
    return f"SELECT {DAYMS} d, sum(value) v FROM metrics WHERE {S.format(where % name)} AND {T} GROUP BY d"


SQL = {
    "Q1": f"SELECT {DAYMS} d, '', count(*), count(DISTINCT user_id), count(DISTINCT session_id) FROM events WHERE {W} GROUP BY d UNION ALL SELECT {DAYMS} d, event_type, count(*), 0, 0 FROM events WHERE {W} GROUP BY d, event_type",
    "Q2": ranked(
        "avg(value), max(value)",
        ["d", "name"],
        f"SELECT {DAYMS} d, name, value FROM series CROSS JOIN metrics USING (series_id) WHERE organization_id='{{org}}' AND app_id='' AND name IN ('cpu.usage','memory.usage','disk.usage') AND {T}",
        [0.95],
    ),
    "Q3": "SELECT a.*, e.v/r.v FROM ("
    + ranked(
        "avg(value)",
        ["d"],
        f"SELECT {DAYMS} d, value FROM metrics WHERE {S.format(APP % 'response.time')} AND {T}",
        [0.5, 0.95, 0.99],
    )
    + f") a JOIN ({counter('errors.count', APP)}) e USING (d) JOIN ({counter('requests.count', APP)}) r USING (d)",
    "Q4a": f"SELECT {DAYMS} d, count(*), count(DISTINCT user_id) FROM events WHERE {T} GROUP BY d",
    "Q4b": "SELECT a.d, r.v, e.v, a.p FROM (SELECT d, p FROM ("
    + ranked(
        "1",
        ["d"],
        f"SELECT {DAYMS} d, value FROM metrics WHERE {S.format(chr(110)+'ame='+chr(39)+'response.time'+chr(39))} AND {T}",
        [0.95],
    ).replace("ELSE 0 END)", "ELSE 0 END) AS p", 1)
    + f")) a JOIN ({counter('errors.count', 'name=' + chr(39) + '%s' + chr(39))}) e USING (d) JOIN ({counter('requests.count', 'name=' + chr(39) + '%s' + chr(39))}) r USING (d)",
    "Q5": f"SELECT ts, id, action, object_id FROM audit WHERE {W} AND user_id='{{user}}' AND action GLOB 'security.*' ORDER BY ts DESC, id DESC LIMIT 100",
    "Q6": f"SELECT {DAYMS} d, count(*) FROM events WHERE {W} AND json_extract(event_data,'$.page')='{{page}}' AND json_extract(event_data,'$.browser')='{{browser}}' GROUP BY d",
    "Q7": "SELECT d, avg(CASE WHEN name='response.time' THEN value END), sum(CASE WHEN name='requests.count' THEN value END), sum(CASE WHEN name='errors.count' THEN value END) FROM "
    f"(SELECT ts/60000*60000 d, name, value FROM series CROSS JOIN metrics USING (series_id) WHERE organization_id='{{org}}' AND app_id='{{app}}' AND {T}) GROUP BY d",
}
PAGE = "SELECT ts, id, action FROM audit WHERE organization_id='{org}' {cursor} ORDER BY ts DESC, id DESC LIMIT 50"


class Adapter(SqlPeer):
    name = "sqlite"
    schema, sql, page, after = SCHEMA, SQL, PAGE, "AND (ts,id)<({ts},{id})"

    def start(self, fresh=False):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.do("PRAGMA temp_store=MEMORY")
        for table in TABLES:
            self.do(f"ATTACH '{self.home}/{table}.sqlite' AS {table}")
            if fresh:
                self.do(f"PRAGMA {table}.journal_mode=WAL")
                for statement in SCHEMA[table].split(";"):
                    self.do(statement)
                if table == "metrics":
                    rows = forms.series(self.data).select("series_id", *forms.KEY).rows()
                    self.connection.executemany("INSERT INTO series VALUES (?,?,?,?,?)", rows)
            self.do(f"PRAGMA {table}.synchronous=FULL")
            self.do(f"PRAGMA {table}.cache_size=-524288")
            self.do(f"PRAGMA {table}.mmap_size=8589934592")
        self.ids = None

    def do(self, statement):
        return self.connection.execute(statement)

    def version(self):
        return sqlite3.sqlite_version

    def encode(self, table, batch):
        df = forms.frame(batch)
        if table == "metrics":
            if self.ids is None:
                self.ids = forms.series(self.data)
            df = df.join(self.ids, on=forms.KEY, how="left", maintain_order="left")
        return df.select(COLUMNS[table]).rows()

    def insert(self, table, rows):
        places = ",".join("?" * len(COLUMNS[table]))
        self.do("BEGIN")
        self.connection.executemany(f"INSERT INTO {table}.{table} VALUES ({places})", rows)
        self.do("COMMIT")

    def index(self, table):
        for index in INDEXES[table]:
            self.do(f"CREATE INDEX {index}")

    def bulk(self, table, clock):
        """Transactions of 250,000 rows without syncs, then the indexes, then one checkpoint."""
        self.do(f"PRAGMA {table}.synchronous=OFF")
        for batch in self.batches(table, 250_000):
            rows = self.encode(table, batch)
            with clock:
                self.insert(table, rows)
        with clock:
            self.index(table)
            self.do(f"PRAGMA {table}.wal_checkpoint(TRUNCATE)")
            self.do(f"PRAGMA {table}.synchronous=FULL")

    def ingest(self, table, payloads):
        """A transaction a batch, synchronous, the indexes in place."""
        self.index(table)
        for payload in payloads:
            self.insert(table, payload)

    def settle(self):
        for table in TABLES:
            self.do(f"ANALYZE {table}")
            self.do(f"PRAGMA {table}.wal_checkpoint(TRUNCATE)")

    def disk_bytes(self):
        return {table: os.path.getsize(f"{self.home}/{table}.sqlite") for table in TABLES}

    def rows(self, sql):
        return self.do(sql).fetchall()

    def stop(self):
        self.connection.close()
