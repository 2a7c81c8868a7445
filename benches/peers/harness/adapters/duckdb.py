"""DuckDB, in process; a database file a table, so that their sizes can be told apart."""

import os

import duckdb
import pyarrow as pa

from ..contract import TABLES
from ..sql import SqlPeer

SCHEMA = {
    "metrics": "organization_id UUID, app_id UUID, name VARCHAR, host VARCHAR, ts TIMESTAMP_MS, value DOUBLE",
    "events": "organization_id UUID, user_id UUID, session_id UUID, event_type VARCHAR, event_data VARIANT, app_id UUID, ip VARCHAR, user_agent VARCHAR, ts TIMESTAMP_MS",
    "audit": "id BIGINT, organization_id UUID, user_id UUID, action VARCHAR, description VARCHAR, object_type VARCHAR, object_id UUID, ip VARCHAR, user_agent VARCHAR, metadata VARCHAR, severity VARCHAR, ts TIMESTAMP_MS",
}
TS = "make_timestamp_ms(timestamp)"
BULK = {
    "metrics": (
        f"organization_id::UUID o, nullif(app_id,'')::UUID a, name, host, {TS} ts, value",
        "o, a, name, host, ts",
    ),
    "events": (
        f"organization_id::UUID o, user_id::UUID, session_id::UUID, event_type, event_data::JSON::VARIANT, app_id::UUID, ip, user_agent, {TS} ts",
        "o, ts",
    ),
    "audit": (
        f"id, organization_id::UUID o, user_id::UUID, action, description, object_type, object_id::UUID, ip, user_agent, metadata, severity, {TS} ts",
        "o, ts, id",
    ),
}
DAYMS = "epoch_ms(date_trunc('day', ts))"
T = "ts>=make_timestamp_ms({t0}) AND ts<make_timestamp_ms({t1})"
W = "organization_id='{org}'::UUID AND " + T
RT = "FILTER (name='response.time')"
SQL = {
    "Q1": f"SELECT {DAYMS} d, '' t, count(*), count(DISTINCT user_id), count(DISTINCT session_id) FROM events.t WHERE {W} GROUP BY d UNION ALL SELECT {DAYMS} d, event_type, count(*), 0, 0 FROM events.t WHERE {W} GROUP BY d, event_type",
    "Q2": f"SELECT {DAYMS} d, name, avg(value), max(value), quantile_cont(value, 0.95) FROM metrics.t WHERE {W} AND app_id IS NULL AND name IN ('cpu.usage','memory.usage','disk.usage') GROUP BY d, name",
    "Q3": f"SELECT {DAYMS} d, avg(value) {RT}, quantile_cont(value, 0.5) {RT}, quantile_cont(value, 0.95) {RT}, quantile_cont(value, 0.99) {RT}, sum(value) FILTER (name='errors.count')/sum(value) FILTER (name='requests.count') FROM metrics.t WHERE {W} AND app_id='{{app}}'::UUID AND name IN ('response.time','errors.count','requests.count') GROUP BY d",
    "Q4a": f"SELECT {DAYMS} d, count(*), count(DISTINCT user_id) FROM events.t WHERE {T} GROUP BY d",
    "Q4b": f"SELECT {DAYMS} d, sum(value) FILTER (name='requests.count'), sum(value) FILTER (name='errors.count'), approx_quantile(value, 0.95) {RT} FROM metrics.t WHERE {T} AND name IN ('response.time','errors.count','requests.count') GROUP BY d",
    "Q5": f"SELECT epoch_ms(ts::TIMESTAMP), id, action, object_id::VARCHAR FROM audit.t WHERE {W} AND user_id='{{user}}'::UUID AND starts_with(action,'security.') ORDER BY ts DESC, id DESC LIMIT 100",
    "Q6": f"SELECT {DAYMS} d, count(*) FROM events.t WHERE {W} AND event_data.page::VARCHAR='{{page}}' AND event_data.browser::VARCHAR='{{browser}}' GROUP BY d",
    "Q7": f"SELECT epoch_ms(date_trunc('minute', ts)) d, avg(value) {RT}, sum(value) FILTER (name='requests.count'), sum(value) FILTER (name='errors.count') FROM metrics.t WHERE {W} AND app_id='{{app}}'::UUID GROUP BY d",
}
ROLLUPS = f"""
CREATE TABLE rollups.r_type AS SELECT organization_id, {DAYMS} d, event_type, count(*) n FROM events.t GROUP BY ALL ORDER BY ALL;
CREATE TABLE rollups.r_day AS SELECT organization_id, {DAYMS} d, count(*) n, count(DISTINCT user_id) u, count(DISTINCT session_id) s FROM events.t GROUP BY 1, 2 ORDER BY 1, 2;
CREATE TABLE rollups.r_metric AS SELECT organization_id, app_id, name, {DAYMS} d, count(*) n, sum(value) s, max(value) hi, quantile_cont(value, [0.5,0.95,0.99]) q FROM metrics.t GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
CREATE TABLE rollups.r_all AS SELECT e.d, e.n, e.u, m.req, m.err, m.p95 FROM (SELECT {DAYMS} d, count(*) n, count(DISTINCT user_id) u FROM events.t GROUP BY 1) e LEFT JOIN
  (SELECT {DAYMS} d, sum(value) FILTER (name='requests.count') req, sum(value) FILTER (name='errors.count') err, quantile_cont(value, 0.95) {RT} p95 FROM metrics.t WHERE app_id IS NOT NULL GROUP BY 1) m USING (d) ORDER BY 1"""
D = "d>={t0} AND d<{t1}"
ROLLUP_SQL = {
    "Q1": f"SELECT d, '', n, u, s FROM rollups.r_day WHERE organization_id='{{org}}'::UUID AND {D} UNION ALL SELECT d, event_type, n, 0, 0 FROM rollups.r_type WHERE organization_id='{{org}}'::UUID AND {D}",
    "Q2": f"SELECT d, name, sum(s)/sum(n), max(hi), max(q[2]) FROM rollups.r_metric WHERE organization_id='{{org}}'::UUID AND app_id IS NULL AND {D} AND name IN ('cpu.usage','memory.usage','disk.usage') GROUP BY 1, 2",
    "Q3": f"SELECT d, max(s/n) {RT}, max(q[1]) {RT}, max(q[2]) {RT}, max(q[3]) {RT}, max(s) FILTER (name='errors.count')/max(s) FILTER (name='requests.count') FROM rollups.r_metric WHERE organization_id='{{org}}'::UUID AND app_id='{{app}}'::UUID AND {D} GROUP BY d",
    "Q4a": f"SELECT d, n, u FROM rollups.r_all WHERE {D}",
    "Q4b": f"SELECT d, req, err, p95 FROM rollups.r_all WHERE {D} AND p95 IS NOT NULL",
}
PAGE = "SELECT epoch_ms(ts::TIMESTAMP), id, action FROM audit.t WHERE organization_id='{org}'::UUID {cursor} ORDER BY ts DESC, id DESC LIMIT 50"


class Adapter(SqlPeer):
    name, rollup_questions = "duckdb", tuple(ROLLUP_SQL)
    sql, rollup_sql, page = SQL, ROLLUP_SQL, PAGE
    schema = {table: f"CREATE TABLE {table}.t ({columns})" for table, columns in SCHEMA.items()}
    after = "AND (ts,id)<(make_timestamp_ms({ts}),{id})"

    def start(self, fresh=False):
        self.connection = duckdb.connect(config={"threads": 2, "memory_limit": "8GB"})
        self.connection.execute("SET preserve_insertion_order=true; SET TimeZone='UTC'")
        for table in TABLES + ("rollups",):
            place = f"'{self.home}/{table}.duckdb' AS {table}"
            self.connection.execute(f"ATTACH {place} (STORAGE_VERSION 'latest')")
            if fresh and table in SCHEMA:
                self.connection.execute(self.schema[table])

    def version(self):
        return duckdb.__version__

    def bulk(self, table, clock):
        columns, order = BULK[table]
        source = f"read_parquet('{self.source(table)}')"
        with clock:
            self.connection.execute(f"INSERT INTO {table}.t SELECT {columns} FROM {source} ORDER BY {order}")
            self.connection.execute(f"CHECKPOINT {table}")

    def encode(self, table, batch):
        return pa.Table.from_batches([batch])

    def ingest(self, table, payloads):
        """A transaction a batch, its log synced once."""
        for batch in payloads:
            self.connection.register("batch", batch)
            self.connection.execute(f"INSERT INTO {table}.t SELECT {BULK[table][0]} FROM batch")

    def build_rollups(self):
        for statement in ROLLUPS.split(";\n"):
            self.connection.execute(statement)
        self.connection.execute("CHECKPOINT rollups")

    def disk_bytes(self):
        return {table: self.size(table) for table in TABLES + ("rollups",)}

    def size(self, table):
        paths = (f"{self.home}/{table}.duckdb", f"{self.home}/{table}.duckdb.wal")
        return sum(os.path.getsize(path) for path in paths if os.path.exists(path))

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()

    def stop(self):
        self.connection.close()
