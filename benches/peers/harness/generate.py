"""The data set, the same for the same seed and scale; QUESTIONS.md describes it.

Writes metrics, events and audit as Parquet and as NDJSON, rows in order of arrival, and params.json with
the parameters of the questions. Scale 1 is 10 M metric points, 4 M events and 1 M audit records.
"""

import json
import os
import time

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

T0 = 1771113600000  # 2026-02-15T00:00:00Z, a UTC midnight
DAYS = 30
DAY = 86_400_000
T1 = T0 + DAYS * DAY
NORG = 100
HOST_METRICS = ["cpu.usage", "memory.usage", "disk.usage", "network.in", "network.out", "db.connections"]
APP_METRICS = ["response.time", "requests.count", "errors.count"]
NAMES = HOST_METRICS + APP_METRICS
HOURS = np.array([2, 1.5, 1, 1, 1, 1.5, 3, 5, 8, 10, 11, 10, 8, 9, 11, 11, 10, 8, 6, 5, 5, 4, 3, 2.5])
EVENT_TYPES = [
    "page.viewed",
    "button.clicked",
    "record.viewed",
    "record.updated",
    "form.submitted",
    "search.performed",
    "filter.applied",
    "record.created",
    "widget.moved",
    "modal.opened",
    "tab.switched",
    "workflow.run",
    "app.previewed",
    "field.edited",
    "file.uploaded",
    "session.started",
    "session.ended",
    "report.opened",
    "export.requested",
    "app.saved",
    "app.published",
    "component.added",
    "component.removed",
    "invite.sent",
    "comment.added",
    "datasource.connected",
    "theme.changed",
    "tour.completed",
    "plan.upgraded",
    "error.shown",
]
ACTIONS = [
    "user.login",
    "user.logout",
    "project.updated",
    "workflow.executed",
    "record.deleted",
    "app.updated",
    "user.login_failed",
    "app.deployed",
    "project.created",
    "security.token_created",
    "workflow.updated",
    "data.exported",
    "security.session_revoked",
    "workflow.created",
    "user.invited",
    "security.password_changed",
    "app.created",
    "project.shared",
    "security.permission_granted",
    "user.role_changed",
    "datasource.updated",
    "system.error",
    "security.2fa_enabled",
    "app.rollback",
    "project.deleted",
    "security.permission_revoked",
    "datasource.created",
    "user.profile_updated",
    "app.deleted",
    "workflow.deleted",
    "security.2fa_disabled",
    "security.api_key_rotated",
    "system.backup_completed",
    "billing.invoice_paid",
    "security.suspicious_login",
    "user.deactivated",
    "system.maintenance_started",
    "billing.plan_changed",
    "security.ip_blocked",
    "organization.settings_updated",
]
SEVERITY = ["info", "warning", "error", "critical"]


def uuids(rng, n):
    b = np.frombuffer(rng.bytes(16 * n), np.uint8).reshape(n, 16).copy()
    b[:, 6] = b[:, 6] & 0x0F | 0x40
    b[:, 8] = b[:, 8] & 0x3F | 0x80
    h = b.tobytes().hex()
    return np.array(
        [
            f"{h[i:i+8]}-{h[i+8:i+12]}-{h[i+12:i+16]}-{h[i+16:i+20]}-{h[i+20:i+32]}"
            for i in range(0, 32 * n, 32)
        ],
        dtype=object,
    )


def zipf(n, s):
    w = 1.0 / np.arange(1, n + 1) ** s
    return w / w.sum()


def pick(rng, w, n, dtype=np.int32):
    """n draws from weights w."""
    return (
        np.searchsorted(np.cumsum(w), rng.random(n) * w.sum(), side="right").clip(0, len(w) - 1).astype(dtype)
    )


def fold(x, lo, hi):
    """Reflect a random walk into [lo, hi]."""
    span = hi - lo
    y = np.mod(x - lo, 2 * span)
    return lo + np.where(y > span, 2 * span - y, y)


def diurnal_times(rng, n):
    w = np.array(
        [1.25 if ((d + 6) % 7) not in (5, 6) else 0.45 for d in range(DAYS)]
    )  # 2026-02-15 is a Sunday
    day = pick(rng, w, n, np.int64)
    hour = pick(rng, HOURS, n, np.int64)
    return T0 + day * DAY + hour * 3_600_000 + rng.integers(0, 3_600_000, n)


def dict_col(idx, values):
    return pa.DictionaryArray.from_arrays(pa.array(idx, pa.int32()), pa.array(list(values), pa.string()))


def write(out, name, cols, line):
    """cols: {name: pyarrow array}; line: polars expressions whose concatenation is one NDJSON line."""
    t = time.time()
    table = pa.table(cols)
    pq.write_table(table, f"{out}/{name}.parquet", compression="zstd", row_group_size=250_000)
    with open(f"{out}/{name}.ndjson", "wb") as f:
        for i in range(0, table.num_rows, 500_000):
            df = pl.from_arrow(
                table.slice(i, 500_000).cast(
                    pa.schema(
                        [
                            (c.name, pa.string() if pa.types.is_dictionary(c.type) else c.type)
                            for c in table.schema
                        ]
                    )
                )
            )
            s = df.select(pl.concat_str(line).alias("l"))["l"]
            f.write("\n".join(s.to_list()).encode())
            f.write(b"\n")
    print(f"{name}: {table.num_rows} rows, {time.time()-t:.1f} s to write", flush=True)


def gen_metrics(rng, out, n_rows, orgs, apps, app_org):
    w = zipf(NORG, 1.0) ** 0.6
    w /= w.sum()
    hosts, parts = [], []

    def entity(org, app, host, ticks, names):
        per_day = max(2.0, ticks / DAYS)
        interval = int(rng.choice([10_000, 15_000, 30_000, 60_000], p=[0.2, 0.2, 0.3, 0.3]))
        n_day = rng.poisson(per_day, DAYS).clip(1, (DAY - 5000) // interval)
        length = n_day * interval
        start = (rng.random(DAYS) ** 0.8 * (DAY - length)).astype(np.int64)
        start[-1] = DAY - length[-1]  # the live hour: everything is up at the end
        k = np.concatenate([np.arange(c) for c in n_day])
        ts = (
            T0
            + np.repeat(np.arange(DAYS) * DAY + start, n_day)
            + k * interval
            + rng.normal(40, 25, k.size).clip(0, 900).astype(np.int64)
        )
        n, m = ts.size, len(names)
        load = HOURS[((ts // 3_600_000) % 24)] / 5.5
        v = np.empty((n, m))
        if app == 0:
            v[:, 0] = np.round(
                fold(rng.uniform(10, 60) + np.cumsum(rng.normal(0, 0.8, n)), 1, 97) * 0.7
                + load * 6
                + rng.random(n),
                2,
            )
            v[:, 1] = np.round(fold(rng.uniform(30, 80) + np.cumsum(rng.normal(0, 0.15, n)), 15, 95), 2)
            v[:, 2] = np.round(rng.uniform(20, 70) + (ts - T0) / (DAYS * DAY) * rng.uniform(0, 20), 1)
            v[:, 3] = np.round(rng.lognormal(9 + rng.random(), 0.6, n) * load * interval / 1000)
            v[:, 4] = np.round(rng.lognormal(10 + rng.random(), 0.7, n) * load * interval / 1000)
            v[:, 5] = np.round(fold(rng.uniform(5, 60) + np.cumsum(rng.normal(0, 0.5, n)), 2, 120))
        else:
            v[:, 0] = np.round(rng.lognormal(rng.uniform(3.5, 5.5), 0.55, n) * (0.8 + 0.2 * load), 1)
            v[:, 1] = rng.poisson(rng.uniform(0.3, 4) * load * interval / 1000)
            burst = np.where(rng.random(n) < 0.01, 10.0, 1.0)
            v[:, 2] = rng.binomial(
                v[:, 1].astype(np.int64), np.minimum(0.5, rng.uniform(0.002, 0.02) * burst)
            )
        arrive = (
            ts + rng.integers(0, 3000, n) + np.where(rng.random(n) < 0.005, rng.integers(0, 60_000, n), 0)
        )
        parts.append(
            (
                np.full(n * m, org, np.int32),
                np.full(n * m, app, np.int32),
                np.tile(np.array(names, np.int32), n),
                np.full(n * m, host, np.int32),
                np.repeat(ts, m),
                v.ravel(),
                np.repeat(arrive, m),
            )
        )
        return per_day, interval

    meta = {}
    for o in range(NORG):
        ticks = n_rows * 0.55 * w[o] / 6
        nh = int(np.clip(round(ticks / (DAYS * 300)), 1, 400))
        first = len(hosts)
        for h in range(nh):
            hosts.append(f"node-{o:02d}-{h:03d}")
            entity(o, 0, first + h, ticks / nh, range(6))
        mine = np.nonzero(app_org == o)[0]
        share = zipf(mine.size, 0.8)
        for a, s in zip(mine, share):
            meta[int(a)] = entity(
                o, int(a) + 1, first + int(rng.integers(nh)), n_rows * 0.45 * w[o] / 3 * s, range(6, 9)
            )
    cols = [np.concatenate(c) for c in zip(*parts)]
    order = np.argsort(cols[6], kind="stable")[:n_rows]
    org, app, name, host, ts, val = (c[order] for c in cols[:6])
    write(
        out,
        "metrics",
        {
            "organization_id": dict_col(org, orgs),
            "app_id": dict_col(app, [""] + list(apps)),
            "name": dict_col(name, NAMES),
            "host": dict_col(host, hosts),
            "timestamp": pa.array(ts, pa.int64()),
            "value": pa.array(val),
        },
        [
            pl.lit('{"organization_id":"'),
            "organization_id",
            pl.lit('","app_id":"'),
            "app_id",
            pl.lit('","name":"'),
            "name",
            pl.lit('","host":"'),
            "host",
            pl.lit('","timestamp":'),
            "timestamp",
            pl.lit(',"value":'),
            "value",
            pl.lit("}"),
        ],
    )
    return meta


def people(rng, scale, orgs, app_org):
    w = zipf(NORG, 1.0)
    count = np.maximum(5, (20_000 * max(scale, 0.05) ** 0.5 * w).astype(int))
    first = np.concatenate([[0], np.cumsum(count)])
    n = int(first[-1])
    browsers = ["Chrome", "Safari", "Firefox", "Edge", "Opera", "Samsung Internet"]
    systems = [
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "X11; Linux x86_64",
        "Linux; Android 14; SM-S921B",
        "iPhone; CPU iPhone OS 18_3 like Mac OS X",
    ]
    uas, ua_b = [], []
    for i in range(300):
        b, s = int(pick(rng, np.array([55, 18, 10, 12, 3, 2.0]), 1)[0]), systems[i % 5]
        uas.append(
            f"Mozilla/5.0 ({s}) AppleWebKit/537.36 (KHTML, like Gecko) {browsers[b].split()[0]}/{100 + i // 5}.0.{1000 + 37 * i}.{i % 200} Safari/537.36"
        )
        ua_b.append(b)
    return dict(
        w=w,
        count=count,
        first=first,
        ids=uuids(rng, n),
        ua=pick(rng, zipf(300, 0.7), n),
        ip=rng.integers(0, 1 << 24, n) | 0x0A000000,
        uas=uas,
        ua_b=np.array(ua_b),
        browsers=browsers,
    )


def pick_users(rng, p, org, n):
    return p["first"][org] + (p["count"][org] * rng.random(n) ** 2).astype(np.int64)


def ip_col(ip):
    u, inv = np.unique(ip, return_inverse=True)
    return dict_col(inv, [f"{x >> 24}.{x >> 16 & 255}.{x >> 8 & 255}.{x & 255}" for x in u.tolist()])


def gen_events(rng, out, n, p, orgs, apps, app_org):
    ns = n // 12 + 1
    s_org = pick(rng, p["w"], ns)
    s_user = pick_users(rng, p, s_org, ns)
    s_start = diurnal_times(rng, ns)
    s_len = rng.geometric(1 / 12, ns)
    app_first = np.searchsorted(app_org, np.arange(NORG))
    app_cnt = np.bincount(app_org, minlength=NORG)
    s_app = app_first[s_org] + (app_cnt[s_org] * rng.random(ns) ** 2).astype(np.int64)
    s_id = uuids(rng, ns)
    sess = np.repeat(np.arange(ns), s_len)
    while sess.size < n:
        sess = np.concatenate([sess, rng.integers(0, ns, n - sess.size)])
        sess.sort()
    sess = sess[np.sort(rng.permutation(sess.size)[:n])]
    gap = rng.lognormal(9.2, 1.1, n).astype(np.int64)
    c = np.cumsum(gap)
    begin = np.concatenate([[True], sess[1:] != sess[:-1]])
    base = np.maximum.accumulate(np.where(begin, np.arange(n), 0))
    ts = np.minimum(s_start[sess] + c - c[base], T1 - 1 - rng.integers(0, 600_000, n))
    arrive = (
        ts
        + rng.exponential(500, n).astype(np.int64)
        + np.where(rng.random(n) < 0.01, rng.integers(0, 2 * DAY, n), 0)
    )
    order = np.argsort(arrive, kind="stable")
    sess, ts = sess[order], ts[order]
    user = s_user[sess]
    pages = ["/dashboard", "/projects", "/apps", "/settings", "/billing"] + [
        f"/projects/{100 + 7 * i}/{x}"
        for i in range(39)
        for x in ("edit", "preview", "data", "workflows", "logs")
    ]
    buttons = [
        f"{v}_{o}"
        for v in ("save", "create", "delete", "open", "share", "publish")
        for o in ("project", "app", "record", "form", "view", "report", "user", "page", "chart", "flow")
    ]
    page = np.array(pages)[pick(rng, zipf(len(pages), 1.0), n)]
    etype = pick(rng, zipf(30, 1.0), n)
    r = lambda: rng.random(n)
    df = pl.DataFrame(
        {
            "page": page,
            "browser": np.array(p["browsers"])[p["ua_b"][p["ua"][user]]],
            "button": np.array(buttons)[pick(rng, zipf(60, 0.9), n)],
            "dur": rng.lognormal(6.5, 1.2, n).astype(np.int64),
            "ref": np.array(["google", "direct", "newsletter", "linkedin", "partner"])[rng.integers(0, 5, n)],
            "n": rng.integers(1, 40, n),
            "b": (etype == 1) | (r() < 0.1),
            "d": r() < 0.6,
            "f": r() < 0.25,
            "x": r() < 0.15,
        }
    )
    data = (
        df.select(
            pl.concat_str(
                [
                    pl.lit('{"page":"'),
                    "page",
                    pl.lit('","browser":"'),
                    "browser",
                    pl.lit('"'),
                    pl.when("b")
                    .then(pl.concat_str([pl.lit(',"button_name":"'), "button", pl.lit('"')]))
                    .otherwise(pl.lit("")),
                    pl.when("d")
                    .then(pl.concat_str([pl.lit(',"duration_ms":'), "dur"]))
                    .otherwise(pl.lit("")),
                    pl.when("f")
                    .then(pl.concat_str([pl.lit(',"referrer":"'), "ref", pl.lit('"')]))
                    .otherwise(pl.lit("")),
                    pl.when("x")
                    .then(
                        pl.concat_str(
                            [
                                pl.lit(',"form":{"fields":'),
                                "n",
                                pl.lit(',"valid":'),
                                pl.when(pl.col("n") > 5).then(pl.lit("true")).otherwise(pl.lit("false")),
                                pl.lit("}"),
                            ]
                        )
                    )
                    .otherwise(pl.lit("")),
                    pl.lit("}"),
                ]
            ).alias("d")
        )["d"]
        .to_arrow()
        .cast(pa.string())
    )
    write(
        out,
        "events",
        {
            "organization_id": dict_col(s_org[sess], orgs),
            "user_id": dict_col(user, p["ids"]),
            "session_id": dict_col(sess, s_id),
            "event_type": dict_col(etype, EVENT_TYPES),
            "event_data": data,
            "app_id": dict_col(s_app[sess], apps),
            "ip": ip_col(p["ip"][user] ^ (sess & 1)),
            "user_agent": dict_col(p["ua"][user], p["uas"]),
            "timestamp": pa.array(ts, pa.int64()),
        },
        [
            x
            for i, c in enumerate(
                ("organization_id", "user_id", "session_id", "event_type", "app_id", "ip", "user_agent")
            )
            for x in (pl.lit(('{"' if i == 0 else ',"') + c + '":"'), pl.col(c), pl.lit('"'))
        ]
        + [pl.lit(',"timestamp":'), "timestamp", pl.lit(',"event_data":'), "event_data", pl.lit("}")],
    )
    top = (
        df.filter(pl.Series(s_org[sess] == 0))
        .group_by("page", "browser")
        .len()
        .sort(["len", "page", "browser"], descending=[True, False, False])
    )
    return top.select("page", "browser").rows()


def gen_audit(rng, out, n, p, orgs):
    org = pick(rng, p["w"], n)
    user = pick_users(rng, p, org, n)
    ts = np.sort(diurnal_times(rng, n))
    action = pick(rng, zipf(40, 0.8), n)
    otype = np.array([a.split(".")[0] for a in ACTIONS])
    types, t_idx = np.unique(otype, return_inverse=True)
    objects = uuids(rng, max(1000, n // 20))
    obj = (objects.size * rng.random(n) ** 1.5).astype(np.int64)
    sev = np.array(
        [
            (
                3
                if a in ("security.suspicious_login", "security.ip_blocked")
                else (
                    2
                    if a == "system.error"
                    else 1 if "failed" in a or "deleted" in a or "disabled" in a else 0
                )
            )
            for a in ACTIONS
        ]
    )
    hexs = rng.bytes(8 * n).hex()
    df = pl.DataFrame(
        {
            "a": np.array(ACTIONS)[action],
            "t": otype[action],
            "k": obj % 5000,
            "r": [hexs[i : i + 16] for i in range(0, 16 * n, 16)],
            "m": np.array(["GET", "POST", "PUT", "DELETE"])[rng.integers(0, 4, n)],
            "s": np.array([200, 201, 204, 403, 500])[pick(rng, np.array([70, 15, 10, 4, 1.0]), n)],
            "ms": rng.lognormal(3.5, 1, n).astype(np.int64),
            "x": rng.random(n) < 0.3,
        }
    )
    desc = df.select(
        pl.concat_str(
            [
                pl.col("a").str.replace(".", " ", literal=True).str.replace_all("_", " ", literal=True),
                pl.lit(": "),
                "t",
                pl.lit(" #"),
                "k",
            ]
        ).alias("d")
    )["d"]
    md = df.select(
        pl.concat_str(
            [
                pl.lit('{"request_id":"'),
                "r",
                pl.lit('","method":"'),
                "m",
                pl.lit('","status":'),
                "s",
                pl.lit(',"elapsed_ms":'),
                "ms",
                pl.when("x")
                .then(
                    pl.concat_str(
                        [pl.lit(',"changes":{"name":["v'), "k", pl.lit('","v'), "ms", pl.lit('"]}')]
                    )
                )
                .otherwise(pl.lit("")),
                pl.lit("}"),
            ]
        ).alias("d")
    )["d"]
    strs = (
        "organization_id",
        "user_id",
        "action",
        "description",
        "object_type",
        "object_id",
        "ip",
        "user_agent",
        "severity",
    )
    write(
        out,
        "audit",
        {
            "id": pa.array(np.arange(1, n + 1)),
            "organization_id": dict_col(org, orgs),
            "user_id": dict_col(user, p["ids"]),
            "action": dict_col(action, ACTIONS),
            "description": desc.to_arrow().cast(pa.string()),
            "object_type": dict_col(t_idx[action], types),
            "object_id": dict_col(obj, objects),
            "ip": ip_col(p["ip"][user]),
            "user_agent": dict_col(p["ua"][user], p["uas"]),
            "metadata": md.to_arrow().cast(pa.string()),
            "severity": dict_col(sev[action], SEVERITY),
            "timestamp": pa.array(ts, pa.int64()),
        },
        [pl.lit('{"id":'), "id"]
        + [x for c in strs for x in (pl.lit(f',"{c}":"'), pl.col(c), pl.lit('"'))]
        + [pl.lit(',"timestamp":'), "timestamp", pl.lit(',"metadata":'), "metadata", pl.lit("}")],
    )
    return org, user, np.char.startswith(np.array(ACTIONS), "security.")[action]


def main(out, seed, scale):
    """Writes the data set of a seed and a scale into `out`; params.json comes last."""
    os.makedirs(out, exist_ok=True)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6)]
    orgs = uuids(streams[0], NORG)
    app_org = np.repeat(np.arange(NORG), streams[0].integers(6, 15, NORG))
    apps = uuids(streams[0], app_org.size)
    p = people(streams[1], scale, orgs, app_org)
    meta = gen_metrics(streams[2], out, int(10e6 * scale), orgs, apps, app_org)
    pages = gen_events(streams[3], out, int(4e6 * scale), p, orgs, apps, app_org)
    au_org, au_user, security = gen_audit(streams[4], out, int(1e6 * scale), p, orgs)
    rng = streams[5]
    some = lambda lo, hi: [str(orgs[i]) for i in rng.permutation(np.arange(lo, hi))[:10]]
    busy = [i for i, (per_day, iv) in meta.items() if per_day * iv >= 3_600_000 and per_day >= 60]
    busy = busy if len(busy) >= 20 else sorted(meta, key=lambda i: -meta[i][0])[:30]  # tiny scales
    app = lambda: [
        {"org": str(orgs[app_org[i]]), "app": str(apps[i])} for i in rng.permutation(busy)[:10].tolist()
    ]
    rows = rng.integers(0, au_org.size, 400)
    rows = [r for r in rows if au_org[r] < 30][:10]
    heavy = np.argsort(np.bincount(au_user[security]))[::-1]  # half of Q5: users with full pages to return
    rows[::2] = [np.nonzero(au_user == u)[0][0] for u in heavy[3:50:10]]
    span = {"t0": T0, "t1": T1}
    params = {
        "Q1": [{"org": o, **span} for o in some(15, 60)],
        "Q2": [{"org": o, **span} for o in some(5, 60)],
        "Q3": [{**x, **span} for x in app()],
        "Q4a": [{"t0": T0 + k * DAY, "t1": T1} for k in range(3)],
        "Q4b": [{"t0": T0 + k * DAY, "t1": T1} for k in range(3)],
        "Q5": [{"org": str(orgs[au_org[r]]), "user": str(p["ids"][au_user[r]]), **span} for r in rows],
        "Q6": [
            {"org": str(orgs[0]), "page": x[0], "browser": x[1], **span}
            for x in (pages[i] for i in rng.permutation(min(200, len(pages)))[:10])
        ],
        "Q7": [{**x, "t0": T1 - 3_600_000, "t1": T1} for x in app()],
        "Q8": [{"org": o, **span} for o in some(0, 60)],
    }
    json.dump(params, open(f"{out}/params.json", "w"), indent=1)
