"""The texts that clients of the servers would send; made once under DATA/prep, never while a clock runs."""

import os

import polars as pl
import pyarrow.parquet as pq

ISO = pl.from_epoch("timestamp", time_unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S%.3f+00").alias("ts")
PG_COLUMNS = {
    "metrics": ["series_id", "ts", "value"],
    "events": [
        "organization_id",
        "user_id",
        "session_id",
        "event_type",
        "event_data",
        "app_id",
        "ip",
        "user_agent",
        "ts",
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
        "ts",
    ],
}
KEY = ["organization_id", "app_id", "name", "host"]


def frame(table):
    """Arrow table or batch -> polars, dictionaries as strings."""
    df = pl.from_arrow(table)
    return df.with_columns(
        [
            pl.col(c).cast(pl.String)
            for c, t in df.schema.items()
            if t == pl.Categorical or isinstance(t, pl.Enum)
        ]
    )


def series(data):
    """The dictionary of series (organization, app, name, host) -> id, 1.. in order of first arrival."""
    path = f"{data}/prep/series.parquet"
    if not os.path.exists(path):
        os.makedirs(f"{data}/prep", exist_ok=True)
        df = frame(pq.read_table(f"{data}/metrics.parquet", columns=KEY)).unique(maintain_order=True)
        df.with_row_index("series_id", 1).with_columns(pl.col("series_id").cast(pl.Int64)).write_parquet(path)
    return pl.read_parquet(path)


def chunks(data, table, rows=500_000):
    for b in pq.ParquetFile(f"{data}/{table}.parquet").iter_batches(batch_size=rows):
        yield b


def pg_frame(table, batch, ids):
    df = frame(batch).with_columns(ISO)
    if table == "metrics":
        df = df.join(ids, on=KEY, how="left", maintain_order="left")
    return df.select(PG_COLUMNS[table])


def pg_csv(data, table, parts=2):
    """CSV for COPY, in two files for two connections."""
    paths = [f"{data}/prep/{table}.{i}.csv" for i in range(parts)]
    if not os.path.exists(paths[-1]):
        ids = series(data)
        files = [open(p + ".tmp", "wb") for p in paths]
        for i, b in enumerate(chunks(data, table)):
            pg_frame(table, b, ids).write_csv(files[i % parts], include_header=False)
        for f, p in zip(files, paths):
            f.close()
            os.rename(p + ".tmp", p)
    return paths


def vm_name(name):
    """A metric's name as VictoriaMetrics likes it."""
    return name.replace(".", "_")


def vm_lines(df):
    """Lines for /api/v1/import: one per series, with its values and times."""
    g = df.group_by(KEY, maintain_order=True).agg("value", "timestamp")
    out = []
    for org, app, n, host, v, t in g.iter_rows():
        labels = (
            f'"__name__":"{vm_name(n)}","org":"{org}",'
            + (f'"app":"{app}",' if app else "")
            + f'"host":"{host}"'
        )
        out.append(
            f'{{"metric":{{{labels}}},"values":[{",".join(map(repr, v))}],"timestamps":[{",".join(map(str, t))}]}}'
        )
    return ("\n".join(out) + "\n").encode()


def influx_lines(df):
    """Line protocol: the metrics of one tick of one source become the fields of one line."""
    g = df.group_by(["organization_id", "app_id", "host", "timestamp"], maintain_order=True).agg(
        pl.concat_str(["name", pl.lit("="), "value"]).str.join(",").alias("f")
    )
    s = g.select(
        pl.concat_str(
            [
                pl.lit("m,org="),
                "organization_id",
                pl.when(pl.col("app_id") != "")
                .then(pl.concat_str([pl.lit(",app="), "app_id"]))
                .otherwise(pl.lit("")),
                pl.lit(",host="),
                "host",
                pl.lit(" "),
                "f",
                pl.lit(" "),
                "timestamp",
            ]
        ).alias("l")
    )["l"]
    return ("\n".join(s.to_list()) + "\n").encode()


def bodies(data, kind, make, rows):
    """Request bodies with metrics on disk, `rows` rows each, in order of arrival."""
    return _once(f"{data}/prep/{kind}", lambda directory: _write(directory, "metrics", data, make, rows))


def _once(directory, write):
    """The files of a directory, in order of their names, made by `write` when it is not there."""
    if not os.path.exists(directory):
        os.makedirs(directory + ".new", exist_ok=True)
        write(directory + ".new")
        os.rename(directory + ".new", directory)
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory))]


def _write(directory, table, data, make, rows):
    for number, batch in enumerate(chunks(data, table, rows)):
        with open(f"{directory}/{number:06d}", "wb") as file:
            file.write(make(frame(batch)))


def text(name, field=None):
    """`"field":"value"` of a text column that needs no escapes."""
    return [pl.lit(f'"{field or name}":"'), pl.col(name), pl.lit('"')]


def bare(name, field=None):
    """`"field":value` of a number, or of a column that is JSON already."""
    return [pl.lit(f'"{field or name}":'), pl.col(name)]


COMMA = [pl.lit(",")]
APP = pl.when(pl.col("app_id") != "").then(pl.concat_str(text("app_id") + COMMA)).otherwise(pl.lit(""))
INSIGHTS_FIELDS = {
    "metrics": [text("organization_id"), text("name"), text("host"), bare("timestamp"), bare("value")],
    "events": [
        text("organization_id"),
        text("user_id"),
        text("session_id"),
        text("event_type"),
        text("ip", "ip_address"),
        text("user_agent"),
        bare("timestamp"),
        bare("event_data"),
    ],
    "audit": [
        text("organization_id"),
        text("user_id"),
        text("action", "action_type"),
        text("description"),
        [pl.lit('"content_object":{')]
        + text("object_type", "type")
        + COMMA
        + text("object_id", "id")
        + [pl.lit("}")],
        text("ip", "ip_address"),
        text("user_agent"),
        text("severity"),
        bare("timestamp"),
        bare("metadata"),
    ],
}


def insights_lines(table, df):
    """NDJSON of ingest records; what is empty in the data set is left out."""
    parts = [pl.lit("{")] + ([] if table == "audit" else [APP])
    for number, field in enumerate(INSIGHTS_FIELDS[table]):
        parts += (COMMA if number else []) + field
    lines = df.select(pl.concat_str(parts + [pl.lit("}\n")]).alias("line"))["line"]
    return "".join(lines.to_list()).encode()


def insights_bodies(data, table, rows, connections):
    """Bodies of `rows` records for each connection.

    An organization's records all go over one connection, in order of arrival, so that the places it gives
    them are in that order too.
    """

    def write(directory):
        share = _shares(data, table, connections)
        waiting, count = [[] for _ in range(connections)], [0] * connections
        for batch in chunks(data, table):
            df = frame(batch).with_columns(pl.col("organization_id").replace_strict(share).alias("share"))
            for number in range(connections):
                waiting[number].append(df.filter(pl.col("share") == number))
                ready = pl.concat(waiting[number])
                whole = ready.height // rows * rows
                _slices(directory, table, number, count, ready.head(whole), rows)
                waiting[number] = [ready.slice(whole)]
        for number in range(connections):
            _slices(directory, table, number, count, waiting[number][0], rows)

    files = _once(f"{data}/prep/insights-{table}-{connections}", write)
    return [[f for f in files if f.endswith(f".{number}")] for number in range(connections)]


def _slices(directory, table, number, count, df, rows):
    for piece in df.iter_slices(rows):
        if piece.height:
            with open(f"{directory}/{count[number]:06d}.{number}", "wb") as file:
                file.write(insights_lines(table, piece))
            count[number] += 1


def _shares(data, table, connections):
    """Organization -> connection, so that the connections have about the same number of rows."""
    column = frame(pq.read_table(f"{data}/{table}.parquet", columns=["organization_id"]))
    sizes, loads = (
        column.group_by("organization_id").len().sort(["len", "organization_id"]),
        [0] * connections,
    )
    share = {}
    for organization, size in reversed(list(sizes.iter_rows())):
        least = loads.index(min(loads))
        share[organization] = least
        loads[least] += size
    return share
