"""Java programs that the tests need: their jars come through Maven, once; afterwards no network is needed."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.patience import patience

DOWNLOAD_TIMEOUT_S = 900.0  # 54 MB of jars
RUN_TIMEOUT_S = 60.0
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
LOG_LINES = 30  # of a failed process, in the error
JVM_OPTIONS = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # a quick start, not a quick program
# Debian's names.
INSTALL = {"java": "openjdk-17-jdk-headless or later", "mvn": "maven", "setpriv": "util-linux"}


class MissingTool(RuntimeError):
    """A program that the tests need is not installed; they fail rather than skip what they claim."""

    def __init__(self, tool: str) -> None:
        """Name the package that has the tool."""
        super().__init__(f"PATH: no `{tool}`, which the tests need; install {INSTALL[tool]} (Debian's name)")


class ProgramFailed(RuntimeError):
    """A process ended or was too slow."""

    def __init__(self, where: str, problem: str, log: bytes) -> None:
        """Show the end of the log here, because the file may be removed."""
        lines = log.decode(errors="replace").splitlines()[-LOG_LINES:]
        super().__init__("\n    ".join([f"{where}: {problem}; the last lines of its log:", *lines]))


def java(jars: Path, *what: str) -> list[str]:
    """Return a command that runs a class, or a file of Java's source, and dies with the thread that starts it."""
    return [tool("setpriv"), "--pdeathsig", "KILL", tool("java"), *JVM_OPTIONS, "-cp", f"{jars}/*", *what]


def java_jar(jar: Path, *words: str) -> list[str]:
    """Return a command that runs a jar, and dies with the thread that starts it."""
    return [tool("setpriv"), "--pdeathsig", "KILL", tool("java"), *JVM_OPTIONS, "-jar", str(jar), *words]


def run(command: list[str], *, given: bytes = b"", timeout_s: float | None = None) -> bytes:
    """Run a command to its end, with `given` as its standard input, and return its standard output."""
    limit_s = patience(RUN_TIMEOUT_S) if timeout_s is None else timeout_s
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(" ".join(command), f"no end after {limit_s:.0f} s", error.stderr or b"") from error
    if done.returncode != 0:
        raise ProgramFailed(" ".join(command), f"exit status {done.returncode}, want 0", done.stdout + done.stderr)
    return done.stdout


def jars(pom: Path, name: str) -> Path:
    """Return the folder with the jars of a `pom.xml`, filled by Maven if need be; another content is another folder.

    It is filled under another name first, so that an interrupted download is never taken for a whole one.
    """
    goal = ["--file", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    return _downloaded(f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:8]}", goal)


def archive(artifact: str, name: str) -> Path:
    """Return the folder with what a packed artifact of Maven Central holds, such as `GROUP:NAME:VERSION:tar.gz:all`."""
    version = artifact.split(":")[2]
    packed = _downloaded(f"{name}-{version}-packed", [f"{COPY}:copy", f"-Dartifact={artifact}"])
    found = packed.with_name(f"{name}-{version}")
    if not found.is_dir():
        with tempfile.TemporaryDirectory(prefix="unpack-", dir=packed.parent) as scratch:
            [file] = packed.iterdir()
            shutil.unpack_archive(file, Path(scratch, "all"), filter="data")
            Path(scratch, "all").rename(found)
    return found


def built(project: Path) -> Path:
    """Return what `mvn package` makes of a project, built if need be; other sources are another folder."""
    sources = sorted(
        one for one in project.rglob("*") if one.is_file() and "target" not in one.relative_to(project).parts
    )
    content = hashlib.sha256()
    for one in sources:
        content.update(f"{one.relative_to(project)}\n".encode() + one.read_bytes())
    cache = _cache()
    found = cache / f"{project.name}-{content.hexdigest()[:8]}"
    if not found.is_dir():
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as scratch:
            for one in sources:
                copy = Path(scratch, one.relative_to(project))
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(one, copy)
            run(
                [tool("mvn"), "--batch-mode", "--quiet", "--file", scratch, "package"],
                timeout_s=patience(DOWNLOAD_TIMEOUT_S),
            )
            if not found.is_dir():  # another process may have been first
                Path(scratch, "target").rename(found)
    return found


def _cache() -> Path:
    cache = Path(os.environ.get("MIRRORSTREAM_CACHE") or Path.home() / ".cache" / "mirrorstream")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _downloaded(folder: str, goal: list[str]) -> Path:
    cache = _cache()
    found = cache / folder
    if found.is_dir():
        return found
    with tempfile.TemporaryDirectory(prefix="download-", dir=cache) as scratch:
        mvn = [tool("mvn"), "--batch-mode", "--quiet", *goal, f"-DoutputDirectory={scratch}/jars"]
        run(mvn, timeout_s=patience(DOWNLOAD_TIMEOUT_S))
        if not found.is_dir():  # another process may have been first
            Path(scratch, "jars").rename(found)
    return found


def tool(name: str) -> str:
    """Return a program's path.  Raises `MissingTool`."""
    if (path := shutil.which(name)) is None:
        raise MissingTool(name)
    return path
