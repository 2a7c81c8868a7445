"""What a peer must do, which rows an answer consists of, and when two answers are the same.

An adapter runs in a worker process of its own. An in-process engine lives in that worker; a server is
started as its child and spoken to over loopback.
"""

import os

import pyarrow.parquet as pq

DAY_MS = 86_400_000
TABLES = ("metrics", "events", "audit")
QUESTIONS = ("Q1", "Q2", "Q3", "Q4a", "Q4b", "Q5", "Q6", "Q7", "Q8")
# The kind of each column of an answer's rows: k key, c exact count, f float (1e-6 relative), q quantile.
SHAPE = {
    "Q1": "kkccc",
    "Q2": "kkffq",
    "Q3": "kfqqqf",
    "Q4a": "kcc",
    "Q4b": "kccq",
    "Q5": "kkkk",
    "Q6": "kc",
    "Q7": "kfcc",
    "Q8": "kkk",
}
# Answers whose order is part of them.
ORDERED = {"Q5", "Q8"}
FLOAT_TOLERANCE = 1e-6


class Peer:
    """A database under measurement. Its files live under `home`, the data set under `data`."""

    name = "?"
    tables = TABLES
    questions = QUESTIONS
    in_process = True
    # Relative, the median over all quantiles, against exact interpolated ones.
    quantile_tolerance = 0.02
    # The questions that hand-made summaries can answer too, where a peer has no automatic ones.
    rollup_questions = ()

    def __init__(self, home, data, options=None):
        self.home, self.data, self.options, self.rollups = home, data, options or {}, False

    def start(self, fresh=False):
        """Opens the database, or makes it with its schema when `fresh`; returns once it answers."""
        raise NotImplementedError

    def version(self):
        return "?"

    def bulk(self, table, clock):
        """Loads a table by the best way there is; the engine's own work alone goes under `with clock:`."""
        raise NotImplementedError

    def encode(self, table, batch):
        """What a client would send for an Arrow record batch. Not timed."""
        raise NotImplementedError

    def ingest(self, table, payloads):
        """Sends payloads one after the other, each acknowledged first, durable where the peer can. Timed."""
        raise NotImplementedError

    def settle(self):
        """Flushes, merges, compacts until nothing is left to do."""

    def build_rollups(self):
        """Makes the summaries that `rollup_questions` are answered from."""

    def disk_bytes(self):
        """Bytes by table, and `rollups` where they can be told apart."""
        return {}

    def disk_detail(self):
        """Anything more that is worth keeping about the files; goes into the result as it is."""
        return None

    def query(self, question, parameters):
        """The rows of an answer, as QUESTIONS.md describes them; from summaries when `self.rollups`."""
        raise NotImplementedError

    def cost(self):
        """What the server says of the last answer, when it says so: any of `elapsed_us`, `rows_scanned`, `cells_read`."""
        return None

    def took(self):
        """Seconds of the last answer, for a peer that takes the time itself; else the harness's clock counts."""
        return None

    def floor(self, question, parameter_sets):
        """Median seconds of the same conversations when a trivial server sends the same bytes, for servers."""
        return None

    def pids(self):
        """Processes of the server, for processor time and memory."""
        return []

    def stop(self):
        """A clean stop."""

    def source(self, table):
        return os.path.join(self.data, table + ".parquet")

    def rows_of(self, table):
        return pq.ParquetFile(self.source(table)).metadata.num_rows

    def batches(self, table, size):
        """Arrow record batches in order of arrival."""
        return pq.ParquetFile(self.source(table)).iter_batches(batch_size=size)


def canonical(question, rows):
    """Rows with numbers of the kind that `SHAPE` says, in order of their keys unless order is the answer."""
    shape = SHAPE[question]
    rows = [[_value(kind, value) for kind, value in zip(shape, row)] for row in rows]
    if question in ORDERED:
        return rows
    return sorted(rows, key=lambda row: [value for value, kind in zip(row, shape) if kind == "k"])


def _value(kind, value):
    if kind == "c":
        return int(round(float(value or 0)))
    if kind in "fq":
        return None if value is None else float(value)
    return int(value) if isinstance(value, float) else value


def difference(question, left, right):
    """What differs first, or None; and how far the quantiles are apart, relatively.

    Keys and counts must be equal, sums and means to 1e-6. Quantiles are left to the caller to judge:
    nearest-rank, interpolated and sketched ones differ honestly on few samples.
    """
    gaps = []
    if len(left) != len(right):
        return f"{len(left)} rows against {len(right)}", gaps
    for x, y in zip(left, right):
        for column, kind in enumerate(SHAPE[question]):
            u, v = x[column], y[column]
            if kind in "kc" or u is None or v is None:
                if u != v:
                    return f"column {column}: {x} against {y}", gaps
                continue
            gap = abs(u - v) / max(abs(u), abs(v), 1e-9)
            if kind == "q":
                gaps.append(gap)
            elif gap > FLOAT_TOLERANCE:
                return f"column {column}: {x} against {y}", gaps
    return None, gaps


def forget(path):
    """Writes back and drops the page cache of every file under `path`, and of no other."""
    for root, _, files in os.walk(path):
        for name in files:
            try:
                fd = os.open(os.path.join(root, name), os.O_RDONLY)
            except OSError:
                continue
            try:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def tree_bytes(path):
    """Allocated bytes of the files under `path`."""
    return sum(
        os.lstat(os.path.join(root, name)).st_blocks * 512
        for root, _, files in os.walk(path)
        for name in files
    )
