"""Clients that do not buy: idle connections, and watchers of a sale; and buyers who all connect at once."""

import http.client
import json
import urllib.parse

from ..lab import latency, per_second
from ..processes import Failed
from ..results import Result, Row

CONNECTIONS = 500
STOCK = 100_000_000


def idle_connections(lab):
    """What open connections cost in memory."""
    count = lab.seconds(10_000, 2_000)
    result = Result("idle-connections", f"{count:,} idle connections")
    reports = []
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            with lab.flash_sale(mongod) as server:
                reports.append(lab.bench("idle-connections", "--url", server.url, "--count", count, "--pid", server.pid))
    result.rows = [
        Row("the server's memory (RSS)", "MB", [report["rssHeldKib"] * 1024 / 1e6 for report in reports],
            target="<= 150"),
        Row("of it before", "MB", [report["rssBeforeKib"] * 1024 / 1e6 for report in reports]),
        Row("for each connection", "KB", [report["bytesPerConnection"] / 1e3 for report in reports]),
    ]
    result.notes = [f"still open at the end: {', '.join(str(report['stillOpen']) for report in reports)}"]
    result.raw = reports
    return result


def arrival(lab):
    """All buyers connect and buy at the same moment."""
    count = lab.seconds(5_000, 2_000)
    result = Result("arrival", f"{count:,} buyers who connect in the same moment")
    reports = []
    with lab.mongod() as mongod, lab.flash_sale(mongod) as server:
        for repeat in lab.repeats(result):
            product = lab.put_on_sale(server, STOCK)
            lab.buying(server, product, 5, 10, tokens=100)
            reports.append(lab.bench("arrival", "--url", server.url, "--secret", lab.secret, "--count", count,
                                     "--body", json.dumps({"productId": product})))
    for figure, name, target in (("p50Ms", "p50", None), ("p99Ms", "p99", None), ("maxMs", "the last one", "<= 1000")):
        result.rows.append(Row(f"connection and answer, {name}", "ms", [report["all"][figure] for report in reports],
                               target=target))
    missing = sum(report["unanswered"]["count"] for report in reports if report["unanswered"])
    result.notes = [f"without an answer: {missing}"]
    result.raw = reports
    return result


def check_events(lab, server, product):
    """Fails early if the server has no events."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=5)
    try:
        connection.request("GET", f"/products/{product}/events", headers={"Accept": "text/event-stream"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise Failed(f"GET /products/{{id}}/events answers {status}: this server has no events")


def last_line(process):
    return json.loads(process.rest_of_output().strip().splitlines()[-1])


def watchers(lab):
    """A sale with and without watchers."""
    count, seconds = lab.seconds(10_000, 1_000), lab.seconds(8, 2)
    result = Result("watchers", f"{count:,} watchers of one product while it sells")
    alone, watched, reports = [], [], []
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            with lab.flash_sale(mongod) as server:
                product = lab.put_on_sale(server, STOCK)
                check_events(lab, server, product)
                lab.buying(server, product, 0.5, CONNECTIONS, tokens=2_000)
                alone.append(lab.buying(server, product, seconds, CONNECTIONS))
                # The watchers are connected; the buyers' tokens are signed only now, hence the extra seconds.
                process, ready = lab.start_bench("watchers", "--url", server.url, "--product", product, "--count", count,
                                                 "--duration", seconds + 6, "--pid", server.pid)
                with process:
                    watched.append(lab.buying(server, product, seconds, CONNECTIONS))
                    reports.append(last_line(process))
    each = [(report["rssWatchingKib"] - report["rssBeforeKib"]) * 1024 / 1e3 / report["watchers"] for report in reports]
    result.rows = [
        Row("purchases", "/s", [per_second(phase) for phase in watched], [per_second(phase) for phase in alone],
            "without watchers", ">= 0.7"),
        Row("memory of a watcher", "KB", each, target="<= 15"),
    ]
    for report in reports:
        seen = ", ".join(f"{name} {counts['min']} / {counts['median']} / {counts['max']}"
                         for name, counts in report["events"].items())
        result.notes.append(f"events of each watcher, min / median / max: {seen}; ended early: {report['endedEarly']}, "
                            f"refused: {sum(report['refused'].values())}")
    result.raw = [{"watched": watched, "alone": alone, "watchers": reports}]
    return result


def feed_latency(lab):
    """From a purchase on one server to a watcher on another."""
    rate, seconds = lab.seconds(5_000, 1_000), lab.seconds(10, 3)
    result = Result("feed-latency", f"A purchase's way to a watcher on another server, at {rate:,} purchases/s")
    reports, phases = [], []
    with lab.mongod() as mongod:
        database = lab.name("shop")
        with lab.flash_sale(mongod, database) as seller, lab.flash_sale(mongod, database) as other:
            for repeat in lab.repeats(result):
                product = lab.put_on_sale(seller, STOCK)
                check_events(lab, other, product)
                process, _ = lab.start_bench("feed-latency", "--url", other.url, "--product", product,
                                             "--duration", seconds + 5)
                with process:
                    phases.append(lab.buying(seller, product, seconds, CONNECTIONS, tokens=rate * seconds, rate=rate))
                    report = last_line(process)
                if not report["latencies"]:
                    raise Failed("the watcher saw no purchase")
                reports.append(report)
    for figure, name, target in (("p50Ms", "p50", None), ("p99Ms", "p99", "<= 250")):
        result.rows.append(Row(f"latency {name}", "ms", [report["latencies"][figure] for report in reports],
                               target=target))
    result.rows.append(Row("the buyers' own answers, p99", "ms", [latency(phase, "bought", "p99Ms") for phase in phases]))
    result.notes = ["It counts from `purchasedAt`, which is before the commit.",
                    f"missing in the sequence: {sum(report['gaps'] for report in reports)}; seen: "
                    + ", ".join(str(report["latencies"]["count"]) for report in reports)]
    result.raw = [{"phases": phases, "watcher": reports}]
    return result
