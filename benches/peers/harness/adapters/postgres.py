"""PostgreSQL: partitions by day, series apart for metrics, B-tree, BRIN and GIN indexes."""

import datetime as dt
import os
import subprocess
import threading

import psycopg

from .. import forms
from ..contract import TABLES
from ..sql import SqlPeer

# The days that the data set covers, each a partition.
FIRST_DAY, DAYS = dt.datetime(2026, 2, 15, tzinfo=dt.timezone.utc), 30
CONF = """listen_addresses=''
unix_socket_directories='{home}'
shared_buffers=2GB
work_mem=128MB
maintenance_work_mem=1GB
effective_cache_size=12GB
max_wal_size=8GB
checkpoint_timeout=30min
wal_compression=lz4
random_page_cost=1.1
effective_io_concurrency=200
max_worker_processes=4
max_parallel_workers_per_gather=2
max_parallel_maintenance_workers=2
synchronous_commit=on
jit=off
timezone=UTC
"""
SCHEMA = """
CREATE TABLE series (series_id int PRIMARY KEY, organization_id uuid NOT NULL, app_id uuid, name text NOT NULL, host text NOT NULL);
CREATE INDEX ON series (organization_id, app_id, name); CREATE INDEX ON series (app_id, name);
CREATE TABLE metrics (series_id int NOT NULL, ts timestamptz NOT NULL, value float8 NOT NULL) PARTITION BY RANGE (ts);
CREATE TABLE events (organization_id uuid NOT NULL, user_id uuid NOT NULL, session_id uuid NOT NULL, event_type text NOT NULL, event_data jsonb NOT NULL,
  app_id uuid, ip inet, user_agent text, ts timestamptz NOT NULL) PARTITION BY RANGE (ts);
CREATE TABLE audit (id bigint NOT NULL, organization_id uuid NOT NULL, user_id uuid, action text NOT NULL, description text, object_type text, object_id uuid, ip inet,
  user_agent text, metadata jsonb, severity text, ts timestamptz NOT NULL) PARTITION BY RANGE (ts)"""
INDEXES = {
    "metrics": ["(series_id, ts) INCLUDE (value)"],
    "events": ["(organization_id, ts)", "USING gin (event_data jsonb_path_ops)", "USING brin (ts)"],
    "audit": ["(organization_id, ts, id)", "(organization_id, user_id, ts, id)"],
}
DAYMS = "(extract(epoch FROM date_trunc('day', ts))*1000)::bigint"
T = "ts>=to_timestamp({t0}/1000.0) AND ts<to_timestamp({t1}/1000.0)"
W = "organization_id='{org}' AND " + T
RT = "FILTER (WHERE name='response.time')"
M = f"FROM metrics JOIN series USING (series_id) WHERE {T}"
PC = lambda f: f"percentile_cont({f}) WITHIN GROUP (ORDER BY value)"
SQL = {
    "Q1": f"SELECT {DAYMS} d, '' t, count(*), count(DISTINCT user_id), count(DISTINCT session_id) FROM events WHERE {W} GROUP BY d UNION ALL SELECT {DAYMS} d, event_type, count(*), 0, 0 FROM events WHERE {W} GROUP BY d, event_type",
    "Q2": f"SELECT {DAYMS} d, name, avg(value), max(value), {PC(.95)} {M} AND organization_id='{{org}}' AND app_id IS NULL AND name IN ('cpu.usage','memory.usage','disk.usage') GROUP BY d, name",
    "Q3": f"SELECT {DAYMS} d, avg(value) {RT}, {PC(.5)} {RT}, {PC(.95)} {RT}, {PC(.99)} {RT}, sum(value) FILTER (WHERE name='errors.count')/sum(value) FILTER (WHERE name='requests.count') {M} AND organization_id='{{org}}' AND app_id='{{app}}' AND name IN ('response.time','errors.count','requests.count') GROUP BY d",
    "Q4a": f"SELECT {DAYMS} d, count(*), count(DISTINCT user_id) FROM events WHERE {T} GROUP BY d",
    "Q4b": f"SELECT {DAYMS} d, sum(value) FILTER (WHERE name='requests.count'), sum(value) FILTER (WHERE name='errors.count'), {PC(.95)} {RT} {M} AND app_id IS NOT NULL AND name IN ('response.time','errors.count','requests.count') GROUP BY d",
    "Q5": f"SELECT (extract(epoch FROM ts)*1000)::bigint, id, action, object_id::text FROM audit WHERE {W} AND user_id='{{user}}' AND action LIKE 'security.%' ORDER BY ts DESC, id DESC LIMIT 100",
    "Q6": f'SELECT {DAYMS} d, count(*) FROM events WHERE {W} AND event_data @> \'{{{{"page":"{{page}}","browser":"{{browser}}"}}}}\' GROUP BY d',
    "Q7": f"SELECT (extract(epoch FROM date_trunc('minute', ts))*1000)::bigint d, avg(value) {RT}, sum(value) FILTER (WHERE name='requests.count'), sum(value) FILTER (WHERE name='errors.count') {M} AND organization_id='{{org}}' AND app_id='{{app}}' GROUP BY d",
}
ROLLUPS = [
    f"CREATE TABLE r_type AS SELECT organization_id, {DAYMS} d, event_type, count(*) n FROM events GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    f"CREATE TABLE r_day AS SELECT organization_id, {DAYMS} d, count(*) n, count(DISTINCT user_id) u, count(DISTINCT session_id) s FROM events GROUP BY 1, 2 ORDER BY 1, 2",
    f"CREATE TABLE r_metric AS SELECT organization_id, app_id, name, {DAYMS} d, count(*) n, sum(value) s, max(value) hi, percentile_cont(ARRAY[.5,.95,.99]) WITHIN GROUP (ORDER BY value) q FROM metrics JOIN series USING (series_id) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    f"CREATE TABLE r_all AS SELECT e.*, req, err, p95 FROM (SELECT {DAYMS} d, count(*) n, count(DISTINCT user_id) u FROM events GROUP BY 1) e LEFT JOIN (SELECT {DAYMS} d, sum(value) FILTER (WHERE name='requests.count') req, sum(value) FILTER (WHERE name='errors.count') err, {PC(.95)} {RT} p95 FROM metrics JOIN series USING (series_id) WHERE app_id IS NOT NULL GROUP BY 1) m USING (d)",
    "CREATE INDEX ON r_type (organization_id, d)",
    "CREATE INDEX ON r_day (organization_id, d)",
    "CREATE INDEX ON r_metric (organization_id, app_id, name, d)",
    "ANALYZE r_type, r_day, r_metric, r_all",
]
D = "d>={t0} AND d<{t1}"
ROLLUP_SQL = {
    "Q1": f"SELECT d, '', n, u, s FROM r_day WHERE organization_id='{{org}}' AND {D} UNION ALL SELECT d, event_type, n, 0, 0 FROM r_type WHERE organization_id='{{org}}' AND {D}",
    "Q2": f"SELECT d, name, s/n, hi, q[2] FROM r_metric WHERE organization_id='{{org}}' AND app_id IS NULL AND {D} AND name IN ('cpu.usage','memory.usage','disk.usage')",
    "Q3": f"SELECT d, max(s/n) {RT}, max(q[1]) {RT}, max(q[2]) {RT}, max(q[3]) {RT}, max(s) FILTER (WHERE name='errors.count')/max(s) FILTER (WHERE name='requests.count') FROM r_metric WHERE organization_id='{{org}}' AND app_id='{{app}}' AND {D} GROUP BY d",
    "Q4a": f"SELECT d, n, u FROM r_all WHERE {D}",
    "Q4b": f"SELECT d, req, err, p95 FROM r_all WHERE {D} AND p95 IS NOT NULL",
}
PAGE = "SELECT (extract(epoch FROM ts)*1000)::bigint, id, action FROM audit WHERE organization_id='{org}' {cursor} ORDER BY ts DESC, id DESC LIMIT 50"


class Adapter(SqlPeer):
    name, in_process, rollup_questions = "postgres", False, tuple(ROLLUP_SQL)
    schema, sql, rollup_sql, page = SCHEMA, SQL, ROLLUP_SQL, PAGE
    after = "AND (ts,id)<(to_timestamp({ts}/1000.0),{id})"

    def connect(self):
        return psycopg.connect(f"host={self.home} dbname=postgres user=postgres", autocommit=True)

    def program(self, name, *arguments):
        """Runs a program of the server; it refuses root, so then it runs as the `postgres` account."""
        account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        command = [os.path.join(self.options["postgres"], name), "-D", self.directory, *arguments]
        command = account + command if os.getuid() == 0 else command
        subprocess.check_call(command, stdout=subprocess.DEVNULL, cwd="/")

    def start(self, fresh=False):
        self.directory = self.home + "/pg"
        if fresh:
            if os.getuid() == 0:
                subprocess.check_call(["chown", "-R", "postgres", self.home])
            self.program("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
            with open(self.directory + "/postgresql.conf", "a") as file:
                file.write(CONF.format(home=self.home))
        self.program("pg_ctl", "-w", "-l", self.home + "/log", "start")
        self.connection = self.connect()
        self.connection.prepare_threshold = None
        if fresh:
            self.create()

    def create(self):
        self.connection.execute(SCHEMA)
        for table in TABLES:
            for day in range(DAYS):
                first, last = FIRST_DAY + dt.timedelta(day), FIRST_DAY + dt.timedelta(day + 1)
                bounds = f"FROM ('{first:%Y-%m-%d}') TO ('{last:%Y-%m-%d}')"
                name = f"{table}_{first:%Y%m%d}"
                self.connection.execute(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES {bounds}")
        series = forms.series(self.data).select("series_id", *forms.KEY)
        self.copy(
            "series", "FROM STDIN (FORMAT csv, FORCE_NULL (app_id))", series.write_csv(include_header=False)
        )
        self.connection.execute("ANALYZE series")

    def copy(self, table, form, text):
        with self.connection.cursor().copy(f"COPY {table} {form}") as sink:
            sink.write(text)

    def version(self):
        return self.connection.execute("SHOW server_version").fetchone()[0]

    def pids(self):
        path = self.directory + "/postmaster.pid"
        if not os.path.exists(path):
            return []
        with open(path) as file:
            return [int(file.readline())]

    def index(self, table):
        for index in INDEXES[table]:
            self.connection.execute(f"CREATE INDEX ON {table} {index}")

    def bulk(self, table, clock):
        """COPY over two connections, then the indexes."""
        columns = ",".join(forms.PG_COLUMNS[table])

        def load(path):
            with self.connect() as connection:
                connection.execute(f"COPY {table} ({columns}) FROM '{path}' (FORMAT csv)")

        threads = [threading.Thread(target=load, args=(path,)) for path in forms.pg_csv(self.data, table)]
        with clock:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.index(table)
        (count,) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        if count != self.rows_of(table):
            raise RuntimeError(f"{table}: {count} of {self.rows_of(table)} rows")

    def encode(self, table, batch):
        return forms.pg_frame(table, batch, forms.series(self.data)).write_csv(include_header=False)

    def ingest(self, table, payloads):
        """COPY a batch, committed with its log synced, the indexes in place."""
        self.index(table)
        form = f"({','.join(forms.PG_COLUMNS[table])}) FROM STDIN (FORMAT csv)"
        for payload in payloads:
            self.copy(table, form, payload)

    def settle(self):
        self.connection.execute("VACUUM ANALYZE")
        self.connection.execute("CHECKPOINT")

    def build_rollups(self):
        for statement in ROLLUPS:
            self.connection.execute(statement)

    def disk_bytes(self):
        return {
            "metrics": self.size("^(metrics_|series$)"),
            "events": self.size("^events_"),
            "audit": self.size("^audit_"),
            "rollups": self.size("^r_(type|day|metric|all)$"),
        }

    def size(self, names):
        sizes = "SELECT coalesce(sum(pg_total_relation_size(oid)),0) FROM pg_class"
        return int(self.rows(f"{sizes} WHERE relkind='r' AND relname ~ '{names}'")[0][0])

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()

    def stop(self):
        self.connection.close()
        self.program("pg_ctl", "-w", "-m", "fast", "stop")


class InsertAdapter(Adapter):
    """The same with INSERT statements of many rows instead of COPY; for the batch writes."""

    name = "postgres-insert"

    def encode(self, table, batch):
        frame = forms.pg_frame(table, batch, forms.series(self.data))
        rows = ",".join("(" + ",".join(map(literal, row)) + ")" for row in frame.iter_rows())
        return f"INSERT INTO {table} ({','.join(forms.PG_COLUMNS[table])}) VALUES {rows}"

    def ingest(self, table, payloads):
        self.index(table)
        for payload in payloads:
            self.connection.execute(payload)


def literal(value):
    """A value in a statement; an empty text is no value."""
    if value is None or value == "":
        return "NULL"
    return str(value) if isinstance(value, (int, float)) else "'" + str(value).replace("'", "''") + "'"
