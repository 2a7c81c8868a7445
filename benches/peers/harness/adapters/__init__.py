"""One module a peer; `PEERS` says which class of which module a name stands for."""

import importlib

PEERS = {
    "insights": "insights:Adapter",
    "insights-inproc": "insights_inproc:Adapter",
    "clickhouse": "clickhouse:Adapter",
    "duckdb": "duckdb:Adapter",
    "sqlite": "sqlite:Adapter",
    "postgres": "postgres:Adapter",
    "postgres-insert": "postgres:InsertAdapter",
    "victoria": "victoria:Adapter",
    "influx": "influx:Adapter",
}


def adapter(name):
    """The class of a peer."""
    module, _, cls = PEERS[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)
