#!/usr/bin/env python3
"""Insights beside its peers: the same data, the same questions, the answers compared.

    peers.py all [--scale 0.2] [PEER ...]     everything below, for all peers or some
    peers.py setup                            the Python environment and the servers of the distribution
    peers.py data                             the data set
    peers.py run PEER ...                     measure, one peer at a time; what is measured already stays
    peers.py compare | table | columns        what the results say; `compare` exits with 1 on a disagreement
    peers.py statements                       every statement that is sent
    peers.py limits                           what the machine itself can do

Each step goes on where an earlier call ended. Everything is kept under --work, outside of the repository.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import types

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

from harness import provision  # noqa: E402  (needs the path above, and the standard library alone)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = ("all", "setup", "data", "run", "compare", "table", "columns", "statements", "limits")
    parser.add_argument("command", choices=commands)
    parser.add_argument("peers", nargs="*", metavar="PEER", help="insights clickhouse duckdb sqlite ...")
    work = os.path.join(tempfile.gettempdir(), "insights-peers")
    parser.add_argument("--work", default=work, help="where everything is kept (%(default)s)")
    parser.add_argument(
        "--scale", type=float, default=0.2, help="1 is 10 M metric points, 4 M events, 1 M audit records"
    )
    parser.add_argument("--seed", type=int, default=1)
    release = os.path.join(REPOSITORY, "target", "release")
    parser.add_argument(
        "--release", default=release, help="where insights-server and insights-inspect are (%(default)s)"
    )
    parser.add_argument("--cold", type=int, default=3, help="cold runs of a question")
    parser.add_argument(
        "--passes", type=int, default=4, help="passes over the parameters; the first is not timed"
    )
    parser.add_argument("--budget", type=float, default=15, help="seconds of warm measuring of a question")
    parser.add_argument("--again", action="store_true", help="measure peers that were measured already")
    parser.add_argument(
        "--keep", action="store_true", help="ask again, of the database that the last run left"
    )
    parser.add_argument("--only", nargs="+", metavar="Q", help="with --keep: these questions alone")
    parser.add_argument("--no-stream", action="store_true", help="leave the batch writes out")
    return parser.parse_args()


def say(*words):
    print(f"[{time.strftime('%H:%M:%S')}]", *words, flush=True)


class Peers:
    """The steps, over one work directory."""

    def __init__(self, options):
        from harness.adapters import PEERS

        self.options, self.known = options, PEERS
        unknown = [peer for peer in options.peers if peer not in PEERS]
        if unknown:
            sys.exit(f"unknown peers: {' '.join(unknown)}; known are {' '.join(PEERS)}")
        name = f"seed{options.seed}-scale{options.scale:g}"
        self.data = os.path.join(options.work, "data", name)
        self.results = os.path.join(options.work, "results", name)
        self.home = os.path.join(options.work, "db", name)

    def make_data(self):
        from harness import generate

        if os.path.exists(os.path.join(self.data, "params.json")):
            return
        say(f"making the data set in {self.data}")
        generate.main(self.data, self.options.seed, self.options.scale)

    def programs(self):
        """The programs that peers need, and one line for each peer that cannot be measured here."""
        programs, missing = provision.programs(self.options.work, self.options.release)
        for peer, why in missing.items():
            say(f"{peer} is left out: {why}")
        return programs, missing

    def run(self):
        from harness.measure import Measurement

        self.make_data()
        programs, missing = self.programs()
        chosen = self.options.peers or [peer for peer in self.known if peer != "postgres-insert"]
        for directory in (self.results, self.home):
            os.makedirs(directory, exist_ok=True)
        failed = False
        for peer in chosen:
            if peer in missing:
                continue
            plan = types.SimpleNamespace(
                peer=peer,
                data=self.data,
                home=os.path.join(self.home, peer),
                out=os.path.join(self.results, peer + ".json"),
                options=programs,
                cold=self.options.cold,
                passes=self.options.passes,
                budget=self.options.budget,
            )
            one = Measurement(plan, lambda *words, peer=peer: say(peer, *words))
            try:
                failed |= self.measure(one)
            except (RuntimeError, OSError) as error:
                one.say("could not be measured:", error)
                failed = True
        return failed

    def measure(self, one):
        """Measures a peer; true when something failed."""
        if not self.options.again:
            one.resume()
        if self.options.keep:
            one.ask(self.options.only)
            return bool(one.result["errors"])
        for step in ("load", "ask") if self.options.no_stream else ("load", "ask", "stream"):
            if step in one.result["done"]:
                one.say(f"{step}: done before; --again measures anew, --keep asks again")
            else:
                getattr(one, step)()
        return bool(one.result["errors"])

    def read(self):
        """The results there are, in the order of the peers."""
        out = []
        for peer in self.options.peers or self.known:
            path = os.path.join(self.results, peer + ".json")
            if os.path.exists(path):
                with open(path) as file:
                    out.append(json.load(file))
        return out

    def compare(self):
        from harness import report

        lines, bad = report.compare(self.read())
        print("\n".join(lines))
        return bad > 0

    def table(self):
        from harness import report

        results = self.read()
        print(report.table(results) if results else "no results yet; `run` makes them")

    def columns(self):
        from harness import report

        for result in self.read():
            print(report.columns(result), end="")
        print()


def main():
    options = arguments()
    os.makedirs(options.work, exist_ok=True)
    provision.enter_environment(options.work, say)
    if options.command in ("setup", "all"):
        provision.fetch_servers(options.work, say)
    peers = Peers(options)
    failed = False
    if options.command == "data":
        peers.make_data()
    elif options.command == "limits":
        from harness import limits

        peers.make_data()
        limits.main(peers.data, options.work)
    elif options.command == "statements":
        from harness import report

        print(report.statements())
    elif options.command in ("compare", "table", "columns"):
        failed = getattr(peers, options.command)()
    elif options.command in ("run", "all"):
        failed = peers.run()
        failed |= peers.compare()
        peers.table()
        peers.columns()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
