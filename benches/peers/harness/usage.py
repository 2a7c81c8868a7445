"""Processor time and memory of the worker and of the server it started, and the disk's own latency."""

import os
import time

import psutil


class Usage:
    """Reads the accounts of this process and of a peer's processes."""

    def __init__(self, peer):
        self.peer = peer

    def _servers(self):
        for pid in self.peer.pids():
            try:
                root = psutil.Process(pid)
                yield root, [root, *root.children(recursive=True)]
            except psutil.Error:
                continue

    def cpu(self):
        """Seconds of processor time: (this process, the server's tree with its ended children)."""
        own, server = os.times(), 0.0
        for root, tree in self._servers():
            try:
                ended = root.cpu_times()
                server += ended.children_user + ended.children_system
                for process in tree:
                    times = process.cpu_times()
                    server += times.user + times.system
            except psutil.Error:
                continue
        return own.user + own.system, server

    def memory(self):
        """Bytes of memory: (this process' peak, the server's present proportional set)."""
        own = _kibibytes("/proc/self/status", "VmHWM:")
        server = 0
        for _, tree in self._servers():
            server += sum(_kibibytes(f"/proc/{process.pid}/smaps_rollup", "Pss:") for process in tree)
        return own, server


def _kibibytes(path, field):
    try:
        with open(path) as lines:
            return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
    except OSError:
        return 0


class Clock:
    """Adds up wall and processor time of what runs under `with clock:`."""

    def __init__(self, usage):
        self.usage, self.wall, self.client, self.server = usage, 0.0, 0.0, 0.0

    def __enter__(self):
        self.cpu_before, self.wall_before = self.usage.cpu(), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.wall += time.perf_counter() - self.wall_before
        client, server = self.usage.cpu()
        self.client += client - self.cpu_before[0]
        self.server += server - self.cpu_before[1]

    def account(self):
        return {"wall": self.wall, "client_cpu": self.client, "server_cpu": self.server}


def raw_fdatasync_ms(directory, count=200):
    """Milliseconds of an overwrite of 4 KiB with `fdatasync`, sorted: what no durable write can beat here."""
    path, block = os.path.join(directory, "fdatasync.probe"), os.urandom(4096)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.write(fd, block * 256)
        os.fsync(fd)
        times = []
        for turn in range(count):
            begin = time.perf_counter()
            os.pwrite(fd, block, turn % 256 * 4096)
            os.fdatasync(fd)
            times.append((time.perf_counter() - begin) * 1e3)
        return sorted(times)
    finally:
        os.close(fd)
        os.unlink(path)
