"""Measures one peer: load, size, cold and warm answers, batch writes. The result is one JSON file."""

import json
import multiprocessing
import os
import shutil
import statistics
import threading
import time

import pyarrow.parquet as pq

from .adapters import adapter
from .contract import canonical, forget
from .usage import Clock, Usage, raw_fdatasync_ms

# (rows of a batch, rows at most, seconds at most) of each run of batch writes.
STREAM_RUNS = ((1_000, 200_000, 12), (10_000, 500_000, 12))
# A question that took longer than this cold is asked cold only once, in seconds.
COLD_AGAIN_S = 5


class Bench:
    """What a worker process can be asked to do with its peer."""

    def __init__(self, peer):
        self.peer, self.usage = peer, Usage(peer)
        self.server_peak, self.stopping = 0, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self.stopping.wait(1.0):
            self.server_peak = max(self.server_peak, self.usage.memory()[1])

    def bulk(self, table):
        clock = Clock(self.usage)
        self.peer.bulk(table, clock)
        return clock.account()

    def stream(self, table, size, rows_max, seconds_max):
        """Batches, one after the other; whatever they are made of is ready before the clock starts."""
        payloads, rows = [], 0
        for batch in self.peer.batches(table, size):
            payloads.append(self.peer.encode(table, batch))
            rows += batch.num_rows
            if rows >= rows_max:
                break
        sent, clock, begin = [0], Clock(self.usage), time.perf_counter()

        def feed():
            for payload in payloads:
                if time.perf_counter() - begin > seconds_max:
                    return
                sent[0] += 1
                yield payload

        with clock:
            self.peer.ingest(table, feed())
        rows = min(sent[0] * size, rows)
        return clock.account() | {
            "rows": rows,
            "rows_per_s": rows / clock.wall,
            "batch_ms": clock.wall / sent[0] * 1e3,
        }

    def settle(self):
        return self._timed(self.peer.settle)

    def rollups(self):
        return self._timed(self.peer.build_rollups)

    def _timed(self, act):
        clock = Clock(self.usage)
        with clock:
            act()
        return clock.account()

    def ask(self, question, parameters, rollup):
        """(seconds, what the server says of its cost, canonical rows)."""
        self.peer.rollups = rollup
        begin = time.perf_counter()
        rows = self.peer.query(question, parameters)
        seconds = time.perf_counter() - begin
        own = self.peer.took()
        return seconds if own is None else own, self.peer.cost(), canonical(question, rows)

    def floor(self, question, parameter_sets):
        return self.peer.floor(question, parameter_sets)

    def memory(self):
        return {"client_peak": self.usage.memory()[0], "server_peak": self.server_peak}

    def disk(self):
        return self.peer.disk_bytes()

    def disk_detail(self):
        return self.peer.disk_detail()

    def version(self):
        return self.peer.version()


def _work(pipe, name, home, data, options, fresh):
    """The worker: everything that touches a peer happens in a process of its own."""
    peer = adapter(name)(home, data, options)
    try:
        peer.start(fresh)
    except BaseException:
        _stop_quietly(peer)
        raise
    bench = Bench(peer)
    while True:
        method, arguments = pipe.recv()
        if method == "stop":
            break
        try:
            pipe.send((True, getattr(bench, method)(*arguments)))
        except Exception as error:  # the driver notes it and goes on with the next question
            pipe.send((False, f"{type(error).__name__}: {error}"[:600]))
    bench.stopping.set()
    peer.stop()
    pipe.send((True, None))


def _stop_quietly(peer):
    """Leaves no server behind after a start that failed, whose own error is the one to show."""
    try:
        peer.stop()
    except Exception:
        pass


class Worker:
    """A worker process, for as long as the `with` lasts; any method of `Bench` can be called on it."""

    def __init__(self, plan, home, fresh=False):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, plan.peer, home, plan.data, plan.options, fresh)
        self.process = context.Process(target=_work, args=arguments)
        self.process.start()
        theirs.close()

    def __getattr__(self, method):
        def call(*arguments):
            try:
                self.pipe.send((method, arguments))
                worked, value = self.pipe.recv()
            except (EOFError, ConnectionError) as error:
                raise RuntimeError("the worker died; its traceback is above") from error
            if not worked:
                raise RuntimeError(value)
            return value

        return call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.pipe.send(("stop", ()))
            self.pipe.recv()
        except (OSError, EOFError):
            pass  # it died, and its traceback is on the standard error
        self.process.join()


class Measurement:
    """One peer measured by a plan (`peer`, `data`, `home`, `out`, `cold`, `passes`, `budget`, `options`)."""

    def __init__(self, plan, say):
        self.plan, self.say = plan, say
        self.kind = adapter(plan.peer)
        with open(os.path.join(plan.data, "params.json")) as file:
            self.parameters = json.load(file)
        self.rows = {
            table: pq.ParquetFile(os.path.join(plan.data, f"{table}.parquet")).metadata.num_rows
            for table in self.kind.tables
        }
        self.result = {"peer": plan.peer, "rows": self.rows, "done": [], "errors": {}}

    def load(self):
        """A fresh database with everything in it."""
        shutil.rmtree(self.plan.home, ignore_errors=True)
        os.makedirs(self.plan.home)
        result = self.result
        result["load_before"] = os.getloadavg()
        with Worker(self.plan, self.plan.home, fresh=True) as worker:
            result["version"], result["bulk"] = worker.version(), {}
            for table in self.kind.tables:
                account = worker.bulk(table)
                account["rows_per_s"] = self.rows[table] / account["wall"]
                result["bulk"][table] = account
                self.say(f"bulk {table}: {account['rows_per_s']:,.0f} rows/s")
            result["settle"] = worker.settle()
            if self.kind.rollup_questions:
                result["rollups"] = worker.rollups()
            self.weigh(worker)
            result["memory_ingest"] = worker.memory()
        self.finish("load")

    def weigh(self, worker):
        """How many bytes a row takes, and everything else the peer says about its files."""
        result = self.result
        result["disk"] = worker.disk()
        result["disk_rollups"] = result["disk"].get("rollups")
        result["disk_detail"] = worker.disk_detail()
        result["bytes_per_row"] = {t: result["disk"][t] / self.rows[t] for t in self.kind.tables}
        self.say("bytes a row:", {t: round(b, 2) for t, b in result["bytes_per_row"].items()})

    def variants(self, only=None):
        for rollup, questions in ((False, self.kind.questions), (True, self.kind.rollup_questions)):
            for question in questions:
                if not only or question in only:
                    yield question, rollup, question + ("+rollup" if rollup else "")

    def ask(self, only=None):
        """Every question cold, then warm."""
        for key in ("answers", "cold", "warm", "floor"):
            self.result.setdefault(key, {})
        for question, rollup, key in self.variants(only):
            self.result["errors"].pop(key, None)
            self._cold(question, rollup, key)
        with Worker(self.plan, self.plan.home) as worker:
            for question, rollup, key in self.variants(only):
                if key in self.result["errors"]:
                    continue
                try:
                    self._warm(worker, question, rollup, key)
                except RuntimeError as error:
                    self._failed(key, error)
            self.result["memory_query"] = worker.memory()
        self.finish("ask")

    def _failed(self, key, error):
        self.result["errors"][key] = str(error)
        self.say(key, "failed:", error)

    def _cold(self, question, rollup, key):
        """Fresh process, page cache of its files dropped, other parameters each time."""
        times, sets = [], self.parameters[question]
        for turn in range(self.plan.cold):
            forget(self.plan.home)
            with Worker(self.plan, self.plan.home) as worker:
                try:
                    times.append(worker.ask(question, sets[-1 - turn % len(sets)], rollup)[0])
                except RuntimeError as error:
                    self._failed(key, error)
                    break
            if not times or times[-1] > COLD_AGAIN_S:
                break
        self.result["cold"][key] = statistics.median(times) if times else None

    def _warm(self, worker, question, rollup, key):
        """The first pass gives the answers, the others the times."""
        answers, times, costs, begin = [], [], [], time.time()
        for turn in range(self.plan.passes):
            for parameters in self.parameters[question]:
                seconds, cost, rows = worker.ask(question, parameters, rollup)
                if turn == 0:
                    answers.append(rows)
                    continue
                times.append(seconds)
                costs.append(cost)
                if time.time() - begin > self.plan.budget:
                    break
        floor = None if rollup else worker.floor(question, self.parameters[question])
        self.result["answers"][key] = answers
        warm = {"median": statistics.median(times), "min": min(times), "max": max(times), "n": len(times)}
        for field in ("elapsed_us", "rows_scanned", "cells_read"):
            if all(cost is not None and field in cost for cost in costs):
                warm[field] = statistics.median(cost[field] for cost in costs)
        if floor is not None:
            self.result["floor"][key] = floor
        self.result["warm"][key] = warm
        shown = [f"{warm['median'] * 1e3:.2f} ms warm"]
        if key in self.result["floor"]:
            shown.append(f"floor {self.result['floor'][key] * 1e3:.2f}")
        if "elapsed_us" in warm:
            shown.append(f"in the server {warm['elapsed_us'] / 1e3:.2f}")
        self.say(f"{key}:", ", ".join(shown))

    def stream(self):
        """Batch writes over one connection, each run into a fresh database, beside the disk's own latency."""
        home = self.plan.home + ".stream"
        self.result["stream"] = {}
        raw = raw_fdatasync_ms(os.path.dirname(home))
        for table in self.kind.tables:
            for size, rows_max, seconds_max in STREAM_RUNS:
                shutil.rmtree(home, ignore_errors=True)
                os.makedirs(home)
                key = f"{table}/{size}"
                with Worker(self.plan, home, fresh=True) as worker:
                    try:
                        self.result["stream"][key] = worker.stream(table, size, rows_max, seconds_max)
                    except RuntimeError as error:
                        self._failed(key, error)
                        continue
                self.say(f"batches {key}: {self.result['stream'][key]['rows_per_s']:,.0f} rows/s")
        shutil.rmtree(home, ignore_errors=True)
        raw = sorted(raw + raw_fdatasync_ms(os.path.dirname(home)))
        self.result["raw_fdatasync_ms"] = {"p50": raw[len(raw) // 2], "p99": raw[len(raw) * 99 // 100]}
        self.finish("stream")

    def resume(self):
        """Takes over what an earlier run wrote, if there was one."""
        if os.path.exists(self.plan.out):
            with open(self.plan.out) as file:
                self.result |= json.load(file)

    def finish(self, step):
        """Notes that a step is done, and writes the result."""
        if step not in self.result["done"]:
            self.result["done"].append(step)
        self.save()

    def save(self):
        self.result["load_after"] = os.getloadavg()
        with open(self.plan.out + ".new", "w") as file:
            json.dump(self.result, file)
        os.replace(self.plan.out + ".new", self.plan.out)
