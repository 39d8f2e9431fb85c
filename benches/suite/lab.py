"""The laboratory: where the programs are, and how each kind of server is started."""

import http.client
import itertools
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from contextlib import contextmanager, nullcontext
from pathlib import Path

from .processes import Failed, Process, free_port, json_line, pinned
from .quota import share_of_a_core

READY = "flash-sale is ready at "


class Server:
    """A server under test."""

    def __init__(self, process, url):
        self.process, self.url = process, url

    @property
    def pid(self):
        return self.process.pid


class Mongod:
    """A MongoDB; every server gets its own database unless the caller names one."""

    def __init__(self, process, uri, pid):
        self.process, self.base, self.pid = process, uri, pid

    def uri(self, database):
        return self.base.replace("/?", f"/{database}?", 1)


class Lab:
    """The tools that every scenario works with."""

    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch
        self.product_program = options.target / "release" / "flash-sale"
        self.bench_program = options.target / "release" / "flash-sale-benches"
        self.secret = secrets.token_hex(32)
        self.numbers = itertools.count(1)
        self.server_cores = self.client_cores = None

    def seconds(self, usual, quick):
        return quick if self.options.quick else usual

    @contextmanager
    def apart(self):
        """Servers on one half of the cores, crowds on the other, so that overloaded servers do not slow the crowd."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            half = len(cores) // 2
            self.server_cores, self.client_cores = set(cores[:half]), set(cores[half:])
        try:
            yield
        finally:
            self.server_cores = self.client_cores = None

    # -- servers

    @contextmanager
    def mongod(self, share=None, history_seconds=None):
        """A MongoDB. With `share` it gets that share of a core, on the crowd's cores and not the server's. It keeps
        old versions of documents for `history_seconds`, by default as long as the product's own does."""
        directory = Path(tempfile.mkdtemp(prefix="mongod-", dir=self.scratch))
        command = [self.bench_program, "mongod", "--data-dir", directory]
        if history_seconds is not None:
            command += ["--snapshot-history-seconds", history_seconds]
        cores = self.client_cores if share else self.server_cores
        with Process(self.name("mongod"), command, self.scratch, cores=cores) as process:
            told = process.wait_for_line(json_line)
            with share_of_a_core(told["pid"], share) if share else nullcontext():
                yield Mongod(process, told["uri"], told["pid"])
        shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def flash_sale(self, mongod, database=None, settings=(), program=None):
        """The product in its usual configuration, over an external MongoDB, with some other settings; or an earlier build
        of it."""
        database = database or self.name("shop")
        own = {"PORT": "0", "MONGO_URI": mongod.uri(database), "JWT_SECRET": self.secret, "RUST_LOG": "warn",
               # The whole crowd comes from one address, and its few accounts press as fast as they can.
               "WATCHERS_PER_ADDRESS_MAX": "1000000", "PURCHASES_PER_ACCOUNT": "1000000/1"}
        with Process(self.name("flash-sale"), [program or self.product_program], self.scratch, {**own, **dict(settings)},
                     self.server_cores) as process:
            url = process.wait_for_line(lambda line: READY in line and line.split(READY)[1].split()[0])
            yield Server(process, url)

    @contextmanager
    def rival(self, kind, *arguments):
        """A server of the bench program."""
        command = [self.bench_program, kind, "--secret", self.secret, *arguments]
        with Process(self.name(kind), command, self.scratch, cores=self.server_cores) as process:
            yield Server(process, process.wait_for_line(json_line)["url"])

    @contextmanager
    def redis(self):
        program = shutil.which("redis-server")
        if not program:
            raise Failed("there is no redis-server (Debian and Ubuntu: apt install redis-server)")
        directory, port = Path(tempfile.mkdtemp(prefix="redis-", dir=self.scratch)), free_port()
        command = [program, "--port", port, "--bind", "127.0.0.1", "--dir", directory,
                   "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        with Process(self.name("redis"), command, self.scratch) as process:
            process.wait_for_line(lambda line: "eady to accept connections" in line)
            yield port, process
        shutil.rmtree(directory, ignore_errors=True)

    def name(self, kind):
        return f"{kind}-{next(self.numbers)}"

    # -- clients

    def bench(self, *arguments):
        """Runs a subcommand of the bench program to its end and returns its result."""
        command = [str(self.bench_program), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=self.scratch, text=True, check=False,
                              preexec_fn=pinned(self.client_cores))
        if done.returncode != 0:
            raise Failed(f"flash-sale-benches {arguments[0]} failed; its error is above")
        return json.loads(done.stdout)

    def start(self, *arguments):
        """Starts a subcommand in the background."""
        return Process(self.name(arguments[0]), [self.bench_program, *arguments], self.scratch,
                       cores=self.client_cores)

    def start_bench(self, *arguments):
        """The same for a subcommand that prints one line when it is ready; returns that line too."""
        process = self.start(*arguments)
        return process, process.wait_for_line(json_line)

    def crowd(self, *servers, **options):
        """Sends a crowd and returns the report of each phase. Options have their names on the command line."""
        arguments = []
        for server in servers:
            arguments += ["--url", server.url]
        options.setdefault("secret", self.secret)
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            if value is True:
                arguments.append(flag)
            elif isinstance(value, (list, tuple)):
                for one in value:
                    arguments += [flag, one]
            elif value is not None and value is not False:
                arguments += [flag, value]
        return self.bench("crowd", *arguments)["phases"]

    def buying(self, server, product, seconds, connections, tokens=None, **options):
        """A crowd in which everybody buys once, in a closed loop."""
        tokens = tokens or int(seconds * 60_000)
        body = json.dumps({"productId": product}, separators=(",", ":"))
        servers = server if isinstance(server, list) else [server]
        return self.crowd(*servers, tokens=tokens, once=True, connections=connections, duration=seconds, body=body,
                          **options)[0]

    def token(self, *arguments):
        command = [str(self.bench_program), "token", "--secret", self.secret, *map(str, arguments)]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def request(self, server, method, path, body=None, headers=()):
        """Sends one request and returns the status, the headers and the body of its answer."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            headers = {**({"Content-Type": "application/json"} if content else {}), **dict(headers)}
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def put_on_sale(self, server, stock, limit=1, start="2025-01-01T00:00:00Z", end="2099-12-31T00:00:00Z", name=None,
                    **more):
        """Creates a product and returns its id."""
        product = {"name": name or "Bench", "price": {"amount": 9900, "currency": "USD"}, "stock": stock,
                   "purchaseLimit": limit, "saleStartTime": start, "saleEndTime": end, **more}
        headers = {"Authorization": f"Bearer {self.token('--admin')}"}
        status, _, body = self.request(server, "POST", "/products", product, headers)
        if status != 201:
            raise Failed(f"the product was not put on sale: {status} {body.decode()}")
        return json.loads(body)["id"]

    def wait_until(self, server, product, status, seconds_max=30):
        """Waits until the sale has this status."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            if json.loads(self.request(server, "GET", f"/products/{product}")[2])["status"] == status:
                return
            time.sleep(0.1)
        raise Failed(f"the product did not come to {status}")

    def operations(self, mongod):
        """How many operations the mongod has executed since its start."""
        return sum(self.bench("opcounters", "--mongo-uri", mongod.base).values())


def per_second(phase, kind="bought"):
    """The answers of one kind per second."""
    return sum(answer["perSecond"] for answer in phase["answers"] if answer["kind"] == kind)


def latency(phase, kind, figure):
    """A latency of one kind of answer, in ms; None without an answer of that kind."""
    return next((answer[figure] for answer in phase["answers"] if answer["kind"] == kind), None)
