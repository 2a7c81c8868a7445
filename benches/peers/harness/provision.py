"""What the harness needs besides itself: a Python environment, and servers of the distribution.

Standard library alone: this runs before the environment exists.
"""

import os
import shutil
import subprocess
import sys
import venv

PYTHON_PACKAGES = ("chdb", "duckdb", "pyarrow", "numpy", "polars", "psycopg[binary]", "psutil", "zstandard")
# Debian package -> the program in it that is run. Packages are unpacked, never installed: installing
# would start services.
DEBIAN = {"postgresql": "initdb", "victoria-metrics": "victoria-metrics", "influxdb": "influxd"}


def enter_environment(work, say):
    """Makes the environment when there is none, and goes on inside of it."""
    home = os.path.join(work, "venv")
    python, mark = os.path.join(home, "bin", "python"), os.path.join(home, "complete")
    if os.path.realpath(sys.prefix) == os.path.realpath(home):
        return
    if not os.path.exists(mark):
        say(f"making a Python environment in {home}")
        venv.create(home, with_pip=True, clear=True)
        subprocess.check_call([python, "-m", "pip", "install", "--quiet", *PYTHON_PACKAGES])
        open(mark, "w").close()
    os.execv(python, [python, *sys.argv])


def fetch_servers(work, say):
    """Unpacks the servers that are not installed; what cannot be had is said, and no error."""
    if shutil.which("apt-get") is None:
        say("no apt-get here: servers that are not installed are left out")
        return
    for package, program in DEBIAN.items():
        if _program(work, program):
            continue
        name = _postgresql_package() if package == "postgresql" else package
        if name is None:
            say("no package with PostgreSQL in the lists; apt-get update may help")
            continue
        say(f"unpacking {name}")
        if why := _unpack(name, os.path.join(work, "debian")):
            say(f"{name} could not be had: {why}")


def _postgresql_package():
    """The newest server package that the lists know; its name has the version in it."""
    command = ["apt-cache", "pkgnames", "postgresql-"]
    names = subprocess.run(command, capture_output=True, text=True).stdout.split()
    versions = [int(n.removeprefix("postgresql-")) for n in names if n.removeprefix("postgresql-").isdigit()]
    return f"postgresql-{max(versions)}" if versions else None


def _unpack(package, into):
    """Downloads a package and unpacks it; the reason when that did not work."""
    archive = os.path.join(into, package)
    os.makedirs(archive, exist_ok=True)
    # The download is written as an account that must be allowed to.
    got = subprocess.run(["apt-get", "download", package], cwd=archive, capture_output=True, text=True)
    files = [name for name in os.listdir(archive) if name.endswith(".deb")]
    if got.returncode or not files:
        return (got.stderr.strip().splitlines() or ["no file came"])[-1]
    subprocess.check_call(["dpkg", "-x", os.path.join(archive, files[0]), into])
    return None


def _program(work, name):
    """Where a program is: on the path, in the distribution's place for it, or unpacked."""
    if found := shutil.which(name):
        return os.path.realpath(found)
    for root in ("/usr/lib/postgresql", os.path.join(work, "debian")):
        for directory, _, files in os.walk(root):
            path = os.path.join(directory, name)
            # The scripts that start services have the same names, elsewhere.
            if name in files and os.path.basename(directory) == "bin" and os.access(path, os.X_OK):
                return path
    return None


def programs(work, release):
    """Programs by name, and for each peer that lacks one the reason."""
    found, missing = {}, {}
    needs = {"insights": ("server", "inspect"), "insights-inproc": ("bench", "inspect")}
    for peer, keys in needs.items():
        for key in keys:
            found[key] = os.path.join(release, f"insights-{key}")
            if not os.path.exists(found[key]):
                missing[peer] = f"no {found[key]}; cargo build --release -p insights-{key}"
    if postgres := _program(work, "initdb"):
        found["postgres"] = os.path.dirname(postgres)
    else:
        missing["postgres"] = missing["postgres-insert"] = "PostgreSQL is not here; see `setup`"
    for peer, program in (("victoria", "victoria-metrics"), ("influx", "influxd")):
        if path := _program(work, program):
            found[peer] = path
        else:
            missing[peer] = f"{program} is not here; see `setup`"
    if "victoria" in found:
        found["victoria_version"] = _victoria_version(found["victoria"])
    return found, missing


def _victoria_version(path):
    done = subprocess.run([path, "-version"], capture_output=True, text=True)
    return done.stdout.strip() or "?"
