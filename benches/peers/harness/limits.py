"""What the machine itself can do, to read the figures of the peers by."""

import json
import os
import time
import zlib

import numpy as np
import zstandard

from .contract import TABLES
from .usage import raw_fdatasync_ms

MEBIBYTE = 1 << 20
FILE_BYTES = 1 << 30


def seconds(act):
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def best(act, turns=5):
    """The least of a few turns: what the machine can do when it is left alone."""
    return min(seconds(act) for _ in range(turns))


def main(data, work):
    """Prints them as one JSON object; `work` is a directory on the disk that the databases use."""
    print(json.dumps(disk(work) | memory() | compression(data), indent=1))


def disk(work):
    path, block = os.path.join(work, "limits.probe"), os.urandom(MEBIBYTE)

    def write():
        with open(path, "wb", buffering=0) as file:
            for _ in range(FILE_BYTES // MEBIBYTE):
                file.write(block)
            os.fsync(file.fileno())

    def read():
        with open(path, "rb", buffering=0) as file:
            while file.read(MEBIBYTE):
                pass

    def uncached():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return seconds(read)

    try:
        rate = lambda taken: round(FILE_BYTES / taken / 1e6)
        raw = raw_fdatasync_ms(work, 1000)
        return {
            "sequential write of 1 GiB and a sync, MB/s": [rate(seconds(write)) for _ in range(3)],
            "sequential read of 1 GiB past the page cache, MB/s": [rate(uncached()) for _ in range(3)],
            "overwrite of 4 KiB and fdatasync, ms p50/p99/max": [round(raw[i], 3) for i in (500, 990, 999)],
        }
    finally:
        os.unlink(path)


def memory():
    source = np.arange(64 << 20, dtype=np.int64)
    target = np.ones_like(source)
    part = source[: 32 << 20].data
    return {
        "memory copied, GB/s": round(source.nbytes / best(lambda: np.copyto(target, source)) / 1e9, 1),
        "memory scanned (sum of int64), GB/s": round(source.nbytes / best(source.sum) / 1e9, 1),
        "zlib crc32, GB/s": round(part.nbytes / best(lambda: zlib.crc32(part)) / 1e9, 2),
    }


def compression(data):
    out = {}
    for table in TABLES:
        with open(f"{data}/{table}.ndjson", "rb") as file:
            raw = file.read(128 << 20)
        for level in (1, 3):
            compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
            packed = compressor.compress(raw)
            out[f"zstd -{level} of {table}.ndjson: MB/s in, MB/s out, ratio"] = [
                round(len(raw) / best(lambda: compressor.compress(raw), 3) / 1e6),
                round(len(raw) / best(lambda: decompressor.decompress(packed), 3) / 1e6),
                round(len(raw) / len(packed), 1),
            ]
    return out
