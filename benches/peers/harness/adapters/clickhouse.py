"""ClickHouse, embedded through chdb."""

import json

import chdb
import polars as pl
from chdb.session import Session

from .. import forms
from ..contract import TABLES
from ..sql import SqlPeer

SCHEMA = """
CREATE TABLE b.metrics (organization_id UUID CODEC(ZSTD(1)), app_id UUID CODEC(ZSTD(1)), name LowCardinality(String), host LowCardinality(String),
  ts DateTime64(3,'UTC') CODEC(DoubleDelta, ZSTD(1)), value Float64 CODEC(Gorilla, ZSTD(1)))
  ENGINE=MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (organization_id, app_id, name, host, ts);
CREATE TABLE b.events (organization_id UUID CODEC(ZSTD(1)), user_id UUID CODEC(ZSTD(1)), session_id UUID CODEC(ZSTD(1)), event_type LowCardinality(String),
  event_data JSON(page LowCardinality(String), browser LowCardinality(String), button_name LowCardinality(String), duration_ms UInt32) CODEC(ZSTD(1)),
  app_id UUID CODEC(ZSTD(1)), ip IPv4 CODEC(ZSTD(1)), user_agent LowCardinality(String), ts DateTime64(3,'UTC') CODEC(Delta, ZSTD(1)))
  ENGINE=MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (organization_id, ts);
CREATE TABLE b.audit (id UInt64 CODEC(Delta, ZSTD(1)), organization_id UUID CODEC(ZSTD(1)), user_id UUID CODEC(ZSTD(1)), action LowCardinality(String), description String CODEC(ZSTD(1)),
  object_type LowCardinality(String), object_id UUID CODEC(ZSTD(1)), ip IPv4 CODEC(ZSTD(1)), user_agent LowCardinality(String), metadata String CODEC(ZSTD(1)),
  severity LowCardinality(String), ts DateTime64(3,'UTC') CODEC(Delta, ZSTD(1)), INDEX u user_id TYPE bloom_filter(0.01) GRANULARITY 1)
  ENGINE=MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (organization_id, ts, id)"""
ROLLUPS = """
CREATE TABLE b.r_type (organization_id UUID, day Date, event_type LowCardinality(String), n UInt64) ENGINE=SummingMergeTree ORDER BY (organization_id, day, event_type) SETTINGS index_granularity=256;
CREATE TABLE b.r_day (organization_id UUID, day Date, n SimpleAggregateFunction(sum, UInt64), users AggregateFunction(uniqExact, UUID), sessions AggregateFunction(uniqExact, UUID))
  ENGINE=AggregatingMergeTree ORDER BY (organization_id, day) SETTINGS index_granularity=32;
CREATE TABLE b.r_metric (organization_id UUID, app_id UUID, name LowCardinality(String), day Date, n SimpleAggregateFunction(sum, UInt64), s SimpleAggregateFunction(sum, Float64),
  hi SimpleAggregateFunction(max, Float64), q AggregateFunction(quantilesTDigest(0.5,0.95,0.99), Float64)) ENGINE=AggregatingMergeTree ORDER BY (organization_id, app_id, name, day) SETTINGS index_granularity=64;
INSERT INTO b.r_type SELECT organization_id, toDate(ts) d, event_type, count() FROM b.events GROUP BY ALL;
INSERT INTO b.r_day SELECT organization_id, toDate(ts) d, count(), uniqExactState(user_id), uniqExactState(session_id) FROM b.events GROUP BY 1,2;
INSERT INTO b.r_metric SELECT organization_id, app_id, name, toDate(ts) d, count(), sum(value), max(value), quantilesTDigestState(0.5,0.95,0.99)(value) FROM b.metrics GROUP BY 1,2,3,4"""
TS = "fromUnixTimestamp64Milli(timestamp,'UTC')"
BULK = {
    "metrics": f"SELECT organization_id, toUUIDOrZero(app_id), name, host, {TS}, value",
    "events": f"SELECT organization_id, user_id, session_id, event_type, event_data, app_id, ip, user_agent, {TS}",
    "audit": f"SELECT id, organization_id, user_id, action, description, object_type, object_id, ip, user_agent, metadata, severity, {TS}",
}
DAYMS = "toUnixTimestamp(toStartOfDay(ts))*1000"
W = "organization_id=toUUID('{org}') AND ts>=fromUnixTimestamp64Milli({t0}) AND ts<fromUnixTimestamp64Milli({t1})"
T = "ts>=fromUnixTimestamp64Milli({t0}) AND ts<fromUnixTimestamp64Milli({t1})"
D = "day>=toDate(fromUnixTimestamp64Milli({t0},'UTC')) AND day<toDate(fromUnixTimestamp64Milli({t1},'UTC'))"
RDAY = "toUnixTimestamp(toDateTime(day,'UTC'))*1000"
NO_ID = "00000000-0000-0000-0000-000000000000"
Z = f"app_id=toUUID('{NO_ID}')"
# A DateTime64(3) as text: seconds with three decimals.
SECONDS = pl.format(
    "{}.{}", pl.col("timestamp") // 1000, (pl.col("timestamp") % 1000).cast(pl.String).str.zfill(3)
).alias("ts")
SQL = {
    "Q1": f"SELECT {DAYMS} d, '' t, count(), uniqExact(user_id), uniqExact(session_id) FROM b.events WHERE {W} GROUP BY d UNION ALL "
    f"SELECT {DAYMS} d, toString(event_type) t, count(), 0, 0 FROM b.events WHERE {W} GROUP BY d, event_type",
    "Q2": f"SELECT {DAYMS} d, name, avg(value), max(value), quantileExactInclusive(0.95)(value) FROM b.metrics WHERE {W} AND {Z} AND name IN ('cpu.usage','memory.usage','disk.usage') GROUP BY d, name",
    "Q3": f"SELECT {DAYMS} d, avgIf(value,name='response.time'), (quantilesExactInclusiveIf(0.5,0.95,0.99)(value,name='response.time') AS q)[1], q[2], q[3], "
    f"sumIf(value,name='errors.count')/sumIf(value,name='requests.count') FROM b.metrics WHERE {W} AND app_id=toUUID('{{app}}') AND name IN ('response.time','errors.count','requests.count') GROUP BY d",
    "Q4a": f"SELECT {DAYMS} d, count(), uniqExact(user_id) FROM b.events WHERE {T} GROUP BY d",
    "Q4b": f"SELECT {DAYMS} d, sumIf(value,name='requests.count'), sumIf(value,name='errors.count'), quantileExactInclusiveIf(0.95)(value,name='response.time') FROM b.metrics "
    f"WHERE {T} AND name IN ('response.time','errors.count','requests.count') GROUP BY d",
    "Q5": f"SELECT toUnixTimestamp64Milli(ts), id, action, object_id FROM b.audit WHERE {W} AND user_id=toUUID('{{user}}') AND startsWith(action,'security.') ORDER BY ts DESC, id DESC LIMIT 100",
    "Q6": f"SELECT {DAYMS} d, count() FROM b.events WHERE {W} AND event_data.page='{{page}}' AND event_data.browser='{{browser}}' GROUP BY d",
    "Q7": f"SELECT toUnixTimestamp(toStartOfMinute(ts))*1000 d, avgIf(value,name='response.time'), sumIf(value,name='requests.count'), sumIf(value,name='errors.count') FROM b.metrics WHERE {W} AND app_id=toUUID('{{app}}') GROUP BY d",
}
ROLLUP_SQL = {
    "Q1": f"SELECT {RDAY} d, '' t, sum(n), uniqExactMerge(users), uniqExactMerge(sessions) FROM b.r_day WHERE organization_id=toUUID('{{org}}') AND {D} GROUP BY d UNION ALL "
    f"SELECT {RDAY} d, toString(event_type) t, sum(n), 0, 0 FROM b.r_type WHERE organization_id=toUUID('{{org}}') AND {D} GROUP BY d, event_type",
    "Q2": f"SELECT {RDAY} d, name, sum(s)/sum(n), max(hi), quantilesTDigestMerge(0.5,0.95,0.99)(q)[2] FROM b.r_metric WHERE organization_id=toUUID('{{org}}') AND {D} AND {Z} AND name IN ('cpu.usage','memory.usage','disk.usage') GROUP BY d, name",
    "Q3": f"SELECT {RDAY} d, sumIf(s,name='response.time')/sumIf(n,name='response.time'), (quantilesTDigestMergeIf(0.5,0.95,0.99)(q,name='response.time') AS x)[1], x[2], x[3], "
    f"sumIf(s,name='errors.count')/sumIf(s,name='requests.count') FROM b.r_metric WHERE organization_id=toUUID('{{org}}') AND {D} AND app_id=toUUID('{{app}}') GROUP BY d",
    "Q4a": f"SELECT {RDAY} d, sum(n), uniqExactMerge(users) FROM b.r_day WHERE {D} GROUP BY d",
    "Q4b": f"SELECT {RDAY} d, sumIf(s,name='requests.count'), sumIf(s,name='errors.count'), quantilesTDigestMergeIf(0.5,0.95,0.99)(q,name='response.time')[2] FROM b.r_metric WHERE {D} AND name IN ('response.time','errors.count','requests.count') GROUP BY d",
}
PAGE = "SELECT toUnixTimestamp64Milli(ts), id, action FROM b.audit WHERE organization_id=toUUID('{org}') {cursor} ORDER BY ts DESC, id DESC LIMIT 50"


class Adapter(SqlPeer):
    name, rollup_questions = "clickhouse", tuple(ROLLUP_SQL)
    schema, sql, rollup_sql, page = SCHEMA, SQL, ROLLUP_SQL, PAGE
    after = "AND (ts,id)<(fromUnixTimestamp64Milli({ts}),{id})"

    def start(self, fresh=False):
        self.session = Session(self.home + "/ch")
        if fresh:
            self.do("CREATE DATABASE b", *SCHEMA.split(";"))
        self.do("SELECT 1")

    def do(self, *statements):
        for statement in statements:
            self.session.query(statement)

    def version(self):
        return f"{self.rows('SELECT version()')[0][0]} (chdb {chdb.__version__})"

    def bulk(self, table, clock):
        source = f"file('{self.source(table)}', Parquet) SETTINGS max_insert_threads=2"
        with clock:
            self.do(f"INSERT INTO b.{table} {BULK[table]} FROM {source}")

    def encode(self, table, batch):
        frame = forms.frame(batch).with_columns(SECONDS).drop("timestamp")
        if table == "metrics":
            frame = frame.with_columns(pl.col("app_id").replace("", NO_ID))
        text = frame.write_ndjson()
        if table == "events":  # event_data travels as an object, as a client would send it
            records = [json.loads(line) for line in text.splitlines()]
            for record in records:
                record["event_data"] = json.loads(record["event_data"])
            text = "\n".join(json.dumps(record, separators=(",", ":")) for record in records)
        return text

    def ingest(self, table, payloads):
        self.do(f"ALTER TABLE b.{table} MODIFY SETTING fsync_after_insert=1, fsync_part_directory=1")
        for payload in payloads:
            self.do(f"INSERT INTO b.{table} FORMAT JSONEachRow\n{payload}")

    def settle(self):
        self.do(*(f"OPTIMIZE TABLE b.{table} FINAL" for table in TABLES))

    def build_rollups(self):
        self.do(*ROLLUPS.split(";"))
        self.do(*(f"OPTIMIZE TABLE b.{table} FINAL" for table in ("r_type", "r_day", "r_metric")))

    def disk_bytes(self):
        parts = "FROM system.parts WHERE database='b' AND active GROUP BY table"
        sizes = {table: int(size) for table, size in self.rows(f"SELECT table, sum(bytes_on_disk) {parts}")}
        rollups = sum(size for table, size in sizes.items() if table.startswith("r_"))
        return sizes | {"rollups": rollups}

    def rows(self, sql):
        settings = " SETTINGS output_format_json_quote_64bit_integers=0"
        return [
            json.loads(line)
            for line in str(self.session.query(sql + settings, "JSONCompactEachRow")).splitlines()
        ]

    def stop(self):
        self.session.close()
