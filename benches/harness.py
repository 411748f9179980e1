"""What the benchmarks share: servers as trees of processes, wrk with every answer checked, a quick client, results."""
import concurrent.futures
import contextlib
import datetime
import http.client
import json
import multiprocessing
import os
import pathlib
import platform
import re
import resource
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = pathlib.Path(os.environ.get("RESULTS", ROOT / "target/bench"))
TICK = 1 / os.sysconf("SC_CLK_TCK")
# By environment, so that options can say otherwise. Zygotes are not replaced meanwhile: what a process used is lost when it
# ends after its parent.
SERVICE = {"SANDPIPER_STORE": "memory", "SANDPIPER_ZYGOTE_EXECUTIONS": "1000000", "SANDPIPER_LOG": "error,sandpiper::app=info"}
# A copy of this process with all that it has defined, whatever the default of this Python is.
forked = multiprocessing.get_context("fork")
STARTED_WITHIN = 30
AMPLE = "1000000/s:1000000"
# Quotas that nobody reaches, so that all is counted and nothing refused.
INGRESS_OPEN = ("--total-quota", AMPLE, "--run-quota", AMPLE, "--read-quota", AMPLE,
                "--requests-per-client", "100000", "--connections-per-client", "10000")


# Name, code and result of a script that computes; how long that takes on this machine the engine alone tells.
COMPUTING = ("5 ms of computing", "let s=0; for (let i=0;i<200000;i++) s+=i; s", 19999900000)


def number(name, default):
    """An option from the environment."""
    return type(default)(os.environ.get(name, default))


def arguments(usage):
    """The two programs, and options for the service after `--`."""
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    if end != 3:
        sys.exit(usage)
    return sys.argv[1], sys.argv[2], sys.argv[end + 1:]


class Server:
    """A command in a process group of its own, until it is stopped; it and all below it count as one. Not in a session of its
    own: where the kernel shares processors among sessions (sched_autogroup_enabled) the generator of load would get its turns
    late, and that would be taken for the server's latency."""

    def __init__(self, *command, port=None, env=None, listening_on=r"listening on http://\S*:(\d+)"):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=self.log, process_group=0,
                                        cwd=ROOT, env={**os.environ, **(env or {})})
        self.command, self.port = command, port
        running.append(self)
        deadline = time.monotonic() + STARTED_WITHIN
        while self.port is None:
            found = re.search(listening_on, self.output())
            self.port = int(found[1]) if found else None
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{shlex.join(map(str, command))} does not listen:\n{self.output()}")
            time.sleep(0.002)

    def output(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def tree(self):
        """Every process of it that lives."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            # Any of them may end at any moment.
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    todo += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        return found

    def cpu(self):
        """Seconds of processor time of the tree, and of those it has reaped."""
        ticks = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks * TICK

    def memory_mb(self):
        """Memory of the tree, each shared page counted once (PSS)."""
        kib = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                kib += int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
        return kib / 1024

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """One request on a connection of its own: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        text = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body, separators=(",", ":"))
        connection.request(method, path, text, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        result = answer.status, answer.headers, answer.read().decode()
        connection.close()
        return result

    def stop(self):
        if self in running:
            running.remove(self)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(12)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


running = []


def service(program, *options):
    return Server(program, "serve", "--port", "0", *options, env=SERVICE)


def ingress(program, api_port, *options):
    return Server(program, "--host", "127.0.0.1", "--port", "0", "--api-port", api_port, *options)


def stop_all():
    for server in list(running):
        server.stop()


def main(run):
    """`run`, and whatever happens, nothing is left running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    try:
        run()
    finally:
        stop_all()


def free_port():
    """A port that is free, and so is the next."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError, OverflowError):
                next_one.bind(("127.0.0.1", one.getsockname()[1] + 1))
                return one.getsockname()[1]


class Peak:
    """The most memory that some servers had at once, looked at twice a second: a look takes up to ten milliseconds of a processor that
    is theirs otherwise."""

    def __init__(self, *servers):
        self.servers, self.mb, self.over = servers, 0, threading.Event()

    def look(self):
        while not self.over.wait(0.5):
            self.mb = max(self.mb, sum(server.memory_mb() for server in self.servers))

    def __enter__(self):
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


LUA = """
local function content(name) local file = io.open(name, "rb"); local text = file:read("*a"); file:close(); return text end
wrk.method, wrk.body = "POST", content("%(folder)s/body")
wrk.headers["Content-Type"] = "application/json"
local first, last, threads = content("%(folder)s/first"), content("%(folder)s/last"), {}
bad = 0
function setup(thread) table.insert(threads, thread) end
function response(status, headers, body)
  if status ~= 200 or body:sub(1, #first) ~= first or not body:find(last, 1, true) then bad = bad + 1 end
end
function done(summary, latency)
  local wrong, e = 0, summary.errors
  for _, thread in ipairs(threads) do wrong = wrong + thread:get("bad") end
  io.write(string.format('\\n{"requests":%%d,"us":%%d,"wrong":%%d,"failed":%%d,"p50":%%d,"p99":%%d,"p999":%%d}\\n', summary.requests,
    summary.duration, wrong, e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


def wrk(servers, port, body, first, last, connections, seconds, path="/api/execute", memory=True):
    """POSTs `body` over and over. An answer is right if it is a 200 that begins with `first` and has `last` in it; only such
    count, and how many are not is said. Without `memory` nobody looks at that."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("body", body), ("first", first), ("last", last), ("lua", LUA % {"folder": folder})):
            pathlib.Path(folder, name).write_text(text)
        command = ["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", f"{folder}/lua",
                   f"http://127.0.0.1:{port}{path}"]
        own, spent = resource.getrusage(resource.RUSAGE_CHILDREN), sum(server.cpu() for server in servers)
        with Peak(*(servers if memory else ())) as peak:
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            settle(servers)
        spent = sum(server.cpu() for server in servers) - spent
        then = resource.getrusage(resource.RUSAGE_CHILDREN)
    seen = json.loads(output.strip().splitlines()[-1])
    if not seen["requests"] and not seen["failed"] and seconds < 30:
        # So slow that none was answered in that time.
        return wrk(servers, port, body, first, last, connections, seconds * 4, path, memory)
    right = seen["requests"] - seen["wrong"]
    if right <= 0:
        sys.exit(f"no right answer from {servers[-1].command}: {seen}")
    return {
        "per_second": right * 1e6 / seen["us"],
        "p50_ms": seen["p50"] / 1000, "p99_ms": seen["p99"] / 1000, "p999_ms": seen["p999"] / 1000,
        # What was asked last and not waited for was done too.
        "cpu_ms": spent * 1000 / (seen["requests"] + connections), "peak_mb": peak.mb, "wrong": (seen["wrong"] + seen["failed"]) / seen["requests"],
        # Of all processors' time.
        "generator_share": (then.ru_utime + then.ru_stime - own.ru_utime - own.ru_stime) * 1e6 / seen["us"] / os.cpu_count(),
    }


def settle(servers, within=15):
    """Until they do nothing: what one round has left must not be in the next."""
    deadline, before = time.monotonic() + within, None
    while time.monotonic() < deadline:
        now = sum(server.cpu() for server in servers)
        if before is not None and now - before <= TICK:
            return
        before = now
        time.sleep(0.1)


def medians(rounds):
    """Of each figure by itself, and each round's rate."""
    result = {key: statistics.median(row[key] for row in rounds) for key in rounds[0]}
    return {**result, "peak_mb": max(row["peak_mb"] for row in rounds),
            "wrong": max(row.get("wrong", 0) for row in rounds), "rounds": [round(row["per_second"], 1) for row in rounds]}


def in_threads(count, function, *given):
    """What `function` gives in each of `count` threads; what one raises is raised here."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(function, *given) for _ in range(count)]]


def in_processes(function, *calls):
    """What `function` gives for each of `calls`, in a process each: one Python uses one core."""
    with concurrent.futures.ProcessPoolExecutor(len(calls), forked) as pool:
        return [future.result() for future in [pool.submit(function, *call) for call in calls]]


class Connection:
    """A client that costs little: one connection, one request at a time."""

    def __init__(self, port):
        self.port = port
        self.socket = None

    def open(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method, path, body=b"", headers=""):
        """Status, head as bytes, body as bytes."""
        if self.socket is None:
            self.open()
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.more()
        head, _, rest = answer.partition(b"\r\n\r\n")
        lower = head.lower()
        length = int(re.search(rb"content-length: (\d+)", lower)[1])
        while len(rest) < length:
            rest += self.more()
        if b"\r\nconnection: close" in lower:
            self.socket.close()
            self.socket = None
        return int(head[9:12]), lower, rest

    def more(self):
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("closed in the middle of an answer")
        return part


def percentile(values, share):
    """Of a list that need not be sorted; None of an empty one."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share / 100))] if values else None


def machine():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cores": os.cpu_count(), "memory_gb": round(pages / 2**30), "kernel": platform.release().split("-")[0],
            "date": datetime.date.today().isoformat()}


def save(name, document):
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"kind": name, "machine": machine(), **document}, indent=1) + "\n")
    subprocess.run([ROOT / "benches/table", path], check=True)


def say(text):
    print(text, file=sys.stderr, flush=True)
