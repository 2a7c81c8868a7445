"""What results say side by side: the table, the comparison of the answers, the bytes by column."""

import statistics

from .adapters import PEERS, adapter
from .contract import QUESTIONS, TABLES, difference


def milliseconds(seconds):
    value = seconds * 1e3
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def thousands(value):
    return f"{value / 1e3:.0f} k"


def table(results):
    """Markdown, one column a peer, and for more than one the best of each row."""
    many = len(results) > 1
    lines = [
        "| | " + " | ".join(result["peer"] for result in results) + (" | best |" if many else " |"),
        "|---" * (len(results) + 1 + many) + "|",
    ]

    def row(label, value, show, better=min):
        have = {}
        for result in results:
            try:
                found = value(result)
            except (KeyError, TypeError):
                continue
            if found is not None:
                have[result["peer"]] = found
        if not have:
            return
        cells = [show(have[r["peer"]]) if r["peer"] in have else "" for r in results]
        best = better(have, key=have.get) if better else ""
        lines.append(f"| {label} | " + " | ".join(cells) + (f" | {best} |" if many else " |"))

    _write_rows(row)
    _size_rows(row)
    for question in QUESTIONS:
        for key in (question, question + "+rollup"):
            row(f"{key} cold, ms", lambda r: r["cold"][key], milliseconds)
            row(f"{key} warm, ms", lambda r: r["warm"][key]["median"], milliseconds)
            row(f"{key} warm, floor of the bytes, ms", lambda r: r["floor"][key], milliseconds, None)
            inside = lambda r: r["warm"][key]["elapsed_us"] / 1e6
            row(f"{key} warm, in the server, ms", inside, milliseconds, None)
            for field, name in (("rows_scanned", "rows read"), ("cells_read", "cells read")):
                row(f"{key}, {name}", lambda r: r["warm"][key][field], "{:,.0f}".format, None)
    return "\n".join(lines)


def _write_rows(row):
    cpu = lambda account: account["client_cpu"] + account["server_cpu"]
    for name in TABLES:
        row(f"bulk {name}, rows/s", lambda r: r["bulk"][name]["rows_per_s"], thousands, max)
    for name in TABLES:
        for size in (1_000, 10_000):
            rate = lambda r: r["stream"][f"{name}/{size}"]["rows_per_s"]
            row(f"{name} in batches of {size:,}, rows/s", rate, thousands, max)
            wait = lambda r: r["stream"][f"{name}/{size}"]["batch_ms"]
            row(f"{name}, a batch of {size:,}, ms", wait, "{:.2f}".format)
    row("raw fdatasync of 4 KiB, p50 ms", lambda r: r["raw_fdatasync_ms"]["p50"], "{:.3f}".format, None)
    for name in TABLES:
        row(
            f"bulk {name}, CPU us/row",
            lambda r: cpu(r["bulk"][name]) * 1e6 / r["rows"][name],
            "{:.2f}".format,
        )
    row("settle after bulk, s", lambda r: r["settle"]["wall"], "{:.1f}".format, None)
    row("rollup build, s", lambda r: r["rollups"]["wall"], "{:.1f}".format, None)


def _size_rows(row):
    for name in TABLES:
        row(f"bytes/row {name}", lambda r: r["bytes_per_row"][name], "{:.2f}".format)
    rollups = lambda r: r.get("disk_rollups") and r["disk_rollups"] / 1e6
    row("rollups on disk, MB", rollups, "{:.1f}".format, None)
    for key, name in (("memory_ingest", "ingest"), ("memory_query", "questions")):
        peak = lambda r: (r[key]["server_peak"] or r[key]["client_peak"]) / 2**20
        row(f"peak memory, {name}, MiB", peak, "{:.0f}".format, None)


def columns(result):
    """Markdown: where the bytes of a row are, for a peer that can say it."""
    detail = result.get("disk_detail")
    if not detail:
        return ""
    lines = []
    for name, stream in detail["streams"].items():
        rows = stream["rows"] or 1
        lines += [
            f"\n### {name}: {stream['rows']:,} rows, {stream['bytes'] / rows:.2f} bytes a row\n",
            "| part | bytes/row | encodings |",
            "|---|---:|---|",
        ]
        for column in sorted(stream["columns"], key=lambda c: -c["bytes"]):
            if column["bytes"]:
                encoding = column.get("encoding") or ""
                lines.append(f"| {column['name']} | {column['bytes'] / rows:.3f} | {encoding} |")
        for part in ("overhead_bytes", "dictionary_bytes", "proof_bytes", "rollup_bytes", "id_bytes"):
            if stream.get(part):
                lines.append(f"| *{part.removesuffix('_bytes')}* | {stream[part] / rows:.3f} | |")
    return "\n".join(lines)


def compare(results):
    """Lines that compare every answer with the first result that has it, and how many disagree."""
    lines, bad = [], 0
    for question in QUESTIONS:
        have = [
            (result["peer"], key, result["answers"][key])
            for result in results
            for key in (question, question + "+rollup")
            if key in result.get("answers", {})
        ]
        for name, key, answers in have[1:]:
            verdict, note = _judge(question, name, have[0][2], answers)
            bad += verdict is not None
            who = name + key[len(question) :]
            rows = sum(map(len, answers))
            lines.append(f"{question}: {who} against {have[0][0]}: {verdict or 'agrees'} ({rows} rows{note})")
    return lines, bad


def _judge(question, name, reference, answers):
    verdict, gaps = None, []
    for number, (left, right) in enumerate(zip(reference, answers)):
        found, apart = difference(question, left, right)
        gaps += apart
        verdict = verdict or (found and f"parameters {number}: {found}")
    if not gaps:
        return verdict, ""
    gaps.sort()
    tolerance, median = adapter(name).quantile_tolerance, statistics.median(gaps)
    if median > tolerance:
        verdict = verdict or f"quantiles beyond {tolerance:.1%} in the median"
    p95 = gaps[int(len(gaps) * 0.95)]
    return verdict, f"; quantiles {median:.2%} apart in the median, {p95:.2%} at p95, {gaps[-1]:.2%} at most"


def statements():
    """Every schema and statement that is sent to a peer, as markdown."""
    out = []
    for name, place in PEERS.items():
        if not place.endswith(":Adapter"):
            continue
        try:
            kind = adapter(name)
        except ImportError as error:
            out.append(f"## {name}\n\n{error}\n")
            continue
        out.append(f"## {name}\n")
        for title, text in kind.statements():
            out.append(f"{title}:\n\n```\n{text.strip()}\n```\n")
    return "\n".join(out)
