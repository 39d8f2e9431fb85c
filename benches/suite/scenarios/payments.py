"""Purchases that have to be paid for: what a payment window costs, and what becomes of what nobody pays for."""

import json
import statistics
import subprocess
import time

from ..lab import latency, per_second
from ..processes import Failed, cpu_seconds
from ..results import Curve, Line, Result, Row, number
from .overload import Sale
from .selling import CONNECTIONS, STOCK, cost_note

# Long enough that nothing expires meanwhile.
WINDOW_SECONDS = 86_400
# The shortest that the API takes.
SHORT_WINDOW_SECONDS = 60
RELEASE_SECONDS_MAX = 30
# The seconds before the first one expires in which the other product's rate counts as that without.
CALM_SECONDS = 10
# Few enough that even a busy machine refuses nobody.
HOLDING_CONNECTIONS = 256
HELD_SHARE_MIN = 0.8
# Before the end they are more than there are units left.
GOING_ROUND_BUYERS = 1_000


def payment_window(lab):
    """One hot product with a payment window, beside one without."""
    result = Result("payment-window", f"One hot product with a payment window, {CONNECTIONS} connections, beside one without")
    seconds = lab.seconds(6, 1.5)
    ours, rival, our_costs, rival_costs = [], [], [], []
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            variants = ({}, rival, rival_costs), ({"paymentWindowSeconds": WINDOW_SECONDS}, ours, our_costs)
            for window, phases, all_costs in in_turn(repeat, *variants):
                with lab.flash_sale(mongod) as server:
                    product = lab.put_on_sale(server, STOCK, **window)
                    lab.buying(server, product, 0.5, CONNECTIONS, tokens=2_000)
                    spent = Spent(server, mongod)
                    phases.append(lab.buying(server, product, seconds, CONNECTIONS))
                    all_costs.append(spent.per(count_of(phases[-1], "bought")))
    result.raw = [{"ours": ours, "without": rival}]
    result.rows = [
        Row("purchases", "/s", [per_second(phase) for phase in ours], [per_second(phase) for phase in rival],
            "without a window", ">= 0.9"),
        Row("latency p99", "ms", [latency(phase, "bought", "p99Ms") for phase in ours],
            [latency(phase, "bought", "p99Ms") for phase in rival], "without a window"),
    ]
    result.notes = [cost_note("with a window", our_costs), cost_note("without", rival_costs)]
    return result


class Spent:
    """The processor time that both processes have spent since."""

    def __init__(self, server, mongod):
        self.pids = {"flash-sale": server.pid, "mongod": mongod.pid}
        self.before = self.now()

    def now(self):
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def per(self, count):
        """In microseconds for each of so many."""
        return {name: (seconds - self.before[name]) / count * 1e6 for name, seconds in self.now().items()}


def count_of(phase, kind):
    return sum(answer["count"] for answer in phase["answers"] if answer["kind"] == kind)


def in_turn(repeat, *variants):
    """The variants, in the other order every second time."""
    return variants if repeat % 2 == 0 else variants[::-1]


def expiry(lab):
    """Everything that is held of one product expires while another one sells."""
    holds = lab.seconds(100_000, 5_000)
    result = Result("expiry", f"{holds:,} purchases expire while another product sells")
    found = []
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            found.append(let_expire(lab, mongod, holds))
    result.raw = found
    result.rows = [
        Row("purchases of the other product meanwhile", "/s", [one["with"] for one in found],
            [one["without"] for one in found], "before", ">= 0.7"),
        Row("p99 of the other product's purchases, the worst second", "ms", [one["p99With"] for one in found],
            [one["p99Without"] for one in found], "before"),
        Row("the latest is for sale again after it was due", "s", [one["released"]["lateMsMax"] / 1000 for one in found],
            target=f"<= {RELEASE_SECONDS_MAX}"),
        Row("on average", "s", [one["released"]["lateMsMean"] / 1000 for one in found]),
    ]
    result.notes = [
        f"The window is {SHORT_WINDOW_SECONDS} s, the shortest that the API takes, and nothing is moved: they are due as fast as they were "
        f"bought. One crowd of {CONNECTIONS} buys the other product all the time; \"before\" are the {CALM_SECONDS} s before the first was "
        "due.",
    ] + [f"{one['released']['count']:,.0f} were bought, and so due, within {number(one['dueSeconds'])} s; released within {number(one['releaseSeconds'])} s; the server's "
         f"memory {number(one['rssBefore'])} MB before, at most {number(one['rssMax'])} MB" for one in found]
    return result


def let_expire(lab, mongod, holds):
    database = lab.name("shop")
    with lab.flash_sale(mongod, database) as server:
        other = Sale(lab, server, 1)
        other.crowd(connections=CONNECTIONS, duration=1)
        rss_before = rss(server.pid)
        product = lab.put_on_sale(server, holds, paymentWindowSeconds=SHORT_WINDOW_SECONDS)
        held = lab.buying(server, product, 120, HOLDING_CONNECTIONS, tokens=holds)
        count = count_of(held, "bought")
        # On a busy machine some are refused as overload.
        if count < HELD_SHARE_MIN * holds:
            raise Failed(f"{count} of {holds} were held")
        due = held["startedAtMs"] / 1000 + SHORT_WINDOW_SECONDS
        # Two seconds more for the crowd to get ready, and for the rate to settle.
        time.sleep(max(0, due - time.time() - CALM_SECONDS - 4))
        seconds = CALM_SECONDS + 4 + held["seconds"] + lab.seconds(RELEASE_SECONDS_MAX, 8)
        process = lab.start("crowd", "--url", server.url, "--secret", lab.secret, "--tokens", 100_000, "--bodies", other.bodies,
                            "--connections", CONNECTIONS, "--duration", seconds)
        with process:
            rss_max = 0
            while time.time() < due or stock(lab, server, product) < holds:
                if time.time() > due + held["seconds"] + 4 * RELEASE_SECONDS_MAX:
                    raise Failed(f"{stock(lab, server, product)} of {holds} units are for sale again")
                rss_max = max(rss_max, rss(server.pid))
                time.sleep(0.2)
            sold = json.loads(process.rest_of_output())["phases"][0]
        released = lab.bench("released", "--mongo-uri", mongod.uri(database), "--product", product)
        broken = verify(lab, mongod, database)
    if released["count"] != count or broken:
        raise Failed(f"{released['count']} of {count} have expired; {broken}")
    return {**rates_beside(sold, released), "released": released, "sold": sold, "held": held, "rssBefore": rss_before,
            "rssMax": rss_max, "dueSeconds": (released["dueUntilMs"] - released["dueFromMs"]) / 1000,
            "releaseSeconds": (released["untilMs"] - released["fromMs"]) / 1000}


def rates_beside(sold, released):
    """The other product's rate before and while purchases expired, by whole seconds of its crowd."""
    def whole_seconds(from_ms, until_ms):
        return [second for second in sold["series"]
                if sold["startedAtMs"] + 1000 * second["second"] >= from_ms - 500
                and sold["startedAtMs"] + 1000 * (second["second"] + 1) <= until_ms + 500]

    before = whole_seconds(released["dueFromMs"] - 1000 * CALM_SECONDS, released["dueFromMs"])
    meanwhile = whole_seconds(released["fromMs"], released["untilMs"])
    if not before or not meanwhile:
        raise Failed("the crowd did not buy before and while the others expired")
    return {"with": rate(meanwhile), "without": rate(before), "p99With": worst_p99(meanwhile), "p99Without": worst_p99(before)}


def rate(seconds):
    return statistics.mean(second["good"] for second in seconds)


def worst_p99(seconds):
    return max(second["latencies"]["p99Ms"] for second in seconds if second["latencies"])


def confirms(lab):
    """A payment service confirms what is held."""
    holds = lab.seconds(30_000, 3_000)
    result = Result("confirms", f"A payment service confirms {holds:,} purchases of one product")
    connections = (16, 256)
    found, all_costs = ({count: [] for count in connections} for _ in range(2))
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            for count in connections:
                database = lab.name("shop")
                with lab.flash_sale(mongod, database) as server:
                    product = lab.put_on_sale(server, holds, paymentWindowSeconds=WINDOW_SECONDS)
                    lab.buying(server, product, 60, CONNECTIONS, tokens=holds)
                    spent = Spent(server, mongod)
                    report = lab.bench("confirms", "--url", server.url, "--secret", lab.secret, "--mongo-uri", mongod.uri(database),
                                       "--product", product, "--connections", count)
                    all_costs[count].append(spent.per(holds))
                    if per_second(report, "200") == 0 or verify(lab, mongod, database):
                        raise Failed(f"not confirmed: {report['answers']}")
                    found[count].append(report)
    result.raw = [{str(count): reports for count, reports in found.items()}]
    for count, reports in found.items():
        result.rows += [Row(f"{count} at a time", "confirms/s", [per_second(report, "200") for report in reports]),
                        Row(f"{count} at a time: p99", "ms", [latency(report, "200", "p99Ms") for report in reports])]
    result.notes = ["Each is a change of the product's figures and of the purchase, and an entry of the audit log, in one transaction; "
                    "the payment service's account is looked up for each. Read back from the database: everything adds up."]
    result.notes += [cost_note(f"{count} at a time", costs, "confirm") for count, costs in all_costs.items()]
    return result


def going_round(lab):
    """Nine of ten let go what they hold, so that each unit goes round until somebody pays."""
    units = lab.seconds(5_000, 300)
    result = Result("going-round", f"{units:,} units, of which nine of ten holders let go, until all are paid for")
    reports, all_costs = [], []
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            database = lab.name("shop")
            with lab.flash_sale(mongod, database) as server:
                product = lab.put_on_sale(server, units, paymentWindowSeconds=WINDOW_SECONDS)
                spent = Spent(server, mongod)
                report = lab.bench("going-round", "--url", server.url, "--secret", lab.secret, "--mongo-uri", mongod.uri(database),
                                   "--product", product, "--units", units, "--pid", server.pid,
                                   "--connections", GOING_ROUND_BUYERS)
                all_costs.append(spent.per(report["done"]["held"]["count"]))
                left = json.loads(lab.request(server, "GET", f"/products/{product}")[2])
                broken = verify(lab, mongod, database)
                if broken or left["stock"] != 0 or left["sold"] != units:
                    raise Failed(f"not everything is paid for: {left}; {broken}")
                reports.append(report)
    result.raw = reports
    halves = [memory_of(report) for report in reports]
    result.rows = [
        Row(what, f"{name}/s", [report["done"][name]["count"] / bulk_seconds(report) for report in reports])
        for what, name in (("somebody takes a unit", "held"), ("gives it back at once", "canceled"), ("pays for it", "confirmed"))
    ]
    result.rows += [Row(f"{what}: p99", "ms", [report["done"][name]["p99Ms"] for report in reports])
                    for what, name in (("takes a unit", "held"), ("gives it back", "canceled"), ("pays", "confirmed"))]
    result.rows += [
        Row("until all are paid for", "s", [report["seconds"] for report in reports]),
        Row("the server's memory (RSS), at most: the second half of the purchases beside the first", "MB",
            [second for _, second in halves], [first for first, _ in halves], "the first half", "<= 1.25"),
    ]
    result.notes = [
        f"{GOING_ROUND_BUYERS:,} buyers at a time, each of them once. Of ten holders one pays, six give it back at once, three let it expire. Their windows are ended in the "
        "database, ten times a second, as the shortest that the API takes is 60 s, and some units expire dozens of times before they are paid for.",
        "Rates are those until nine of ten purchases were made; after that the few units that are left wait for their turn to expire. Read "
        "back from the database: everything adds up, every unit is paid for by one buyer.",
    ] + [", ".join(f"{done['count']} {name}" for name, done in report["done"].items()) + f", {report['letExpire']} let expire"
         for report in reports] + [cost_note("all in all", all_costs)]
    last = reports[-1]
    result.curves = [Curve("going-round", f"{result.title}: the server's memory", "s", "MB", [
        Line("RSS", [(seen["second"], seen["rssKib"] * 1024 / 1e6) for seen in last["memory"]])])]
    return result


def bulk_seconds(report):
    """The time in which all purchases would have been made at the rate of the first nine of ten."""
    total = report["done"]["held"]["count"]
    reached = next(seen for seen in report["memory"] if seen["held"] >= 0.9 * total)
    return reached["second"] * total / reached["held"]


def memory_of(report):
    """The most memory, in MB, in the first half of the purchases, and in the second."""
    half = report["done"]["held"]["count"] / 2
    parts = [seen["rssKib"] * 1024 / 1e6 for seen in report["memory"] if seen["held"] < half], \
            [seen["rssKib"] * 1024 / 1e6 for seen in report["memory"] if seen["held"] >= half]
    return tuple(max(part) for part in parts)


def stock(lab, server, product):
    return json.loads(lab.request(server, "GET", f"/products/{product}")[2])["stock"]


def rss(pid):
    """The resident memory of a process in MB."""
    with open(f"/proc/{pid}/status") as status:
        kib = next(line.split()[1] for line in status if line.startswith("VmRSS:"))
    return int(kib) * 1024 / 1e6


def verify(lab, mongod, database):
    """What `flash-sale verify` finds wrong; empty if everything adds up."""
    settings = {"MONGO_URI": mongod.uri(database), "JWT_SECRET": lab.secret, "RUST_LOG": "error"}
    done = subprocess.run([str(lab.product_program), "verify"], env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          cwd=lab.scratch, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout
