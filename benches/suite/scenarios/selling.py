"""How fast the product sells, beside other designs."""

import json
import statistics
import subprocess
import time

from ..lab import latency, per_second
from ..processes import Failed, cpu_seconds
from ..results import Curve, Line, Result, Row, number
from .overload import Sale

CONNECTIONS = 1000
RIVAL_PRODUCT = "65f1c0ffee65f1c0ffee65f1"
STOCK = 100_000_000
MONGODB_HISTORY_SECONDS = 300
# How long a consumer has to catch up after the crowd.
CONSUMER_SECONDS_MAX = 120
# Purchases in one transaction: as many products as the committer puts into one.
BATCH_PURCHASES = 500


def costs(phase, **processes):
    """The processor time of a purchase in each process, in microseconds."""
    count = sum(answer["count"] for answer in phase["answers"]) or 1
    return {name: seconds / count * 1e6 for name, seconds in processes.items()}


def sell(lab, server, product, connections, seconds, processes):
    """One measurement after a short warm-up."""
    lab.buying(server, product, 0.5, connections, tokens=2_000)
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    phase = lab.buying(server, product, seconds, connections)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in processes.items()}
    return phase, costs(phase, **used)


def cost_note(name, all_costs, unit="purchase"):
    middle = {process: statistics.median(cost[process] for cost in all_costs) for process in all_costs[0]}
    return f"{name}: " + ", ".join(f"{number(cost)} µs of processor per {unit} in {process}"
                                   for process, cost in middle.items())


def sell_with_flash_sale(lab, mongod, connections, seconds):
    with lab.flash_sale(mongod) as server:
        product = lab.put_on_sale(server, STOCK)
        return sell(lab, server, product, connections, seconds, {"flash-sale": server.pid, "mongod": mongod.pid})


def hot_product(lab):
    """One product, as many buyers as connections, beside a counter in Redis."""
    result = Result("hot-product", f"One hot product, {CONNECTIONS} connections, beside a Redis counter")
    seconds = lab.seconds(6, 1.5)
    ours, rival, our_costs, rival_costs = [], [], [], []
    with lab.mongod() as mongod, lab.redis() as (redis_port, redis):
        for repeat in lab.repeats(result):
            with lab.rival("redis-counter", "--redis-port", redis_port, "--product", RIVAL_PRODUCT,
                           "--stock", STOCK) as server:
                phase, cost = sell(lab, server, RIVAL_PRODUCT, CONNECTIONS, seconds,
                                   {"the server": server.pid, "Redis": redis.pid})
            rival.append(phase)
            rival_costs.append(cost)
            phase, cost = sell_with_flash_sale(lab, mongod, CONNECTIONS, seconds)
            ours.append(phase)
            our_costs.append(cost)
    result.raw = [{"ours": ours, "redis-counter": rival}]
    result.rows = [
        Row("purchases", "/s", [per_second(phase) for phase in ours], [per_second(phase) for phase in rival],
            "Redis counter", ">= 1.0"),
        Row("latency p99", "ms", [latency(phase, "bought", "p99Ms") for phase in ours],
            [latency(phase, "bought", "p99Ms") for phase in rival], "Redis counter"),
    ]
    result.notes = [
        "A ratio of 0.5 is the least that is acceptable. The counter promises less: a crash loses up to a second of "
        "its sales (`appendfsync everysec`), and what it sold is in no database yet.",
        cost_note("flash-sale", our_costs), cost_note("Redis counter", rival_costs),
    ]
    return result


def stored_orders(lab):
    """The same counter with a consumer that brings its orders into MongoDB, until the last one is there."""
    buyers = lab.seconds(200_000, 20_000)
    result = Result("stored-orders", f"{buyers:,} orders until the last is in MongoDB, {CONNECTIONS} connections, beside a Redis "
                                     "counter and a consumer")
    ours, rival, answers = [], [], []
    with lab.mongod() as mongod, lab.redis() as (redis_port, _):
        for repeat in lab.repeats(result):
            with lab.rival("redis-counter", "--redis-port", redis_port, "--product", RIVAL_PRODUCT, "--stock", STOCK,
                           "--mongo-uri", mongod.uri(lab.name("rival"))) as server:
                phase = lab.buying(server, RIVAL_PRODUCT, 120, CONNECTIONS, tokens=buyers)
                answers.append(per_second(phase))
                rival.append(until_stored(lab, server, phase))
            with lab.flash_sale(mongod) as server:
                product = lab.put_on_sale(server, STOCK)
                ours.append(lab.buying(server, product, 120, CONNECTIONS, tokens=buyers))
    result.raw = [{"ours": ours, "rival": rival}]
    # A purchase is in the database before it is answered, so the last answer ends it.
    result.rows = [Row("orders, from the first request until the last order is in the database", "/s",
                       [per_second(phase) for phase in ours], [told["perSecond"] for told in rival],
                       "Redis counter and consumer", ">= 1.2")]
    result.notes = [
        f"The consumer takes up to 1,000 orders at a time and inserts them with `w: majority`, into a collection with two indexes. "
        f"The counter answers {number(statistics.median(answers))} purchases/s meanwhile; the last order is in MongoDB "
        f"{number(statistics.median(told['behindSeconds'] for told in rival))} s after the last answer.",
        "The counter still promises less: what is answered may be lost until it is in MongoDB.",
    ]
    return result


def until_stored(lab, server, phase):
    """How fast the orders of a crowd came into MongoDB, the crowd's own time included."""
    bought = sum(answer["count"] for answer in phase["answers"] if answer["kind"] == "bought")
    deadline = time.monotonic() + CONSUMER_SECONDS_MAX
    while True:
        stored = json.loads(lab.request(server, "GET", "/stored")[2])
        if stored["count"] == bought:
            break
        if time.monotonic() > deadline:
            raise Failed(f"the consumer has stored {stored['count']} of {bought} orders")
        time.sleep(0.1)
    seconds = (stored["lastAtMs"] - phase["startedAtMs"]) / 1000
    return {"perSecond": bought / seconds, "behindSeconds": seconds - phase["seconds"], "phase": phase}


def long_sale(lab):
    """Whether the product still sells as fast after minutes, beside the same with MongoDB's default setting."""
    seconds, part = lab.seconds((120, 30), (6, 2))
    result = Result("long-sale", f"A sale of {seconds} seconds, {CONNECTIONS} connections, beside MongoDB's default of "
                                 f"{MONGODB_HISTORY_SECONDS} s of old versions")
    ours, rival = [], []
    for repeat in lab.repeats(result):
        for phases, history_seconds in ((rival, MONGODB_HISTORY_SECONDS), (ours, None)):
            with lab.mongod(history_seconds=history_seconds) as mongod, lab.flash_sale(mongod) as server:
                sale = Sale(lab, server, 1)
                sale.crowd(connections=CONNECTIONS, duration=0.5)
                phases.append(sale.crowd(connections=CONNECTIONS, duration=seconds)[0])
    result.raw = [{"ours": ours, "default": rival}]
    lines = (("flash-sale", ours), (f"{MONGODB_HISTORY_SECONDS} s of old versions", rival))

    def rates(phases, first, last):
        return [statistics.mean(second["good"] for second in phase["series"][first:last]) for phase in phases]

    result.rows = [Row(what, "purchases/s", rates(ours, first, last), rates(rival, first, last), lines[1][0])
                   for what, first, last in ((f"the first {part} s", 0, part), (f"the last {part} s", seconds - part, seconds))]
    step = max(1, seconds // 24)
    result.curves = [Curve("long-sale", result.title, "s since the start", "purchases/s", [
        Line(name, [(start + step, statistics.median(rates(phases, start, start + step)))
                    for start in range(0, seconds, step)]) for name, phases in lines])]
    return result


def transactions(lab):
    """One product, beside one transaction per request."""
    connections = 256
    result = Result("transactions", f"One hot product, {connections} connections, beside a transaction per request")
    # The rival answers only after seconds, so it needs a longer run.
    seconds = lab.seconds(12, 6)
    ours, rival = [], []
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            with lab.rival("transaction-per-request", "--mongo-uri", mongod.uri(lab.name("rival")),
                           "--product", RIVAL_PRODUCT, "--stock", STOCK) as server:
                rival.append(lab.buying(server, RIVAL_PRODUCT, seconds, connections, tokens=50_000))
            ours.append(sell_with_flash_sale(lab, mongod, connections, min(seconds, 5))[0])
    result.raw = [{"ours": ours, "transaction-per-request": rival}]
    result.rows = [
        Row("purchases", "/s", [per_second(phase) for phase in ours], [per_second(phase) for phase in rival],
            "transaction per request", ">= 500"),
        Row("latency p99 of a purchase", "ms", [latency(phase, "bought", "p99Ms") for phase in ours],
            [latency(phase, "bought", "p99Ms") or 0 for phase in rival], "transaction per request"),
    ]
    given_up = [per_second(phase, "overloaded") for phase in rival]
    result.notes = [f"The rival gave up on {number(statistics.median(given_up))} requests/s after 5 s of retries."]
    return result


def lone_client(lab):
    """One client at a time: the time that the layers above the driver add."""
    result = Result("lone-client", "One connection, beside the same statements straight through the driver")
    count = lab.seconds(3_000, 500)
    ours, rival = [], []
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            rival.append(lab.bench("bare-driver", "--mongo-uri", mongod.uri(lab.name("bare")), "--count", count))
            with lab.flash_sale(mongod) as server:
                product = lab.put_on_sale(server, STOCK)
                lab.buying(server, product, 30, 1, tokens=count // 10)
                ours.append(lab.buying(server, product, 60, 1, tokens=count))
    result.raw = [{"ours": ours, "bare-driver": rival}]
    for figure, name, target in (("p50Ms", "p50", "<= 1.3"), ("p99Ms", "p99", None)):
        result.rows.append(Row(f"latency {name}", "ms", [latency(phase, "bought", figure) for phase in ours],
                               [phase[figure] for phase in rival], "bare driver", target))
    return result


def products(lab):
    """The same crowd for one product, for ten and for a thousand."""
    result = Result("products", f"Many products, {CONNECTIONS} connections")
    buyers = {1: lab.seconds(100_000, 10_000), 10: lab.seconds(100_000, 10_000), 1000: lab.seconds(30_000, 3_000)}
    found = {count: [] for count in buyers}
    bare = {count: [] for count in (1, BATCH_PURCHASES)}
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            for count, rates in bare.items():
                told = lab.bench("bare-batches", "--mongo-uri", mongod.uri(lab.name("bare")), "--products", count,
                                 "--purchases", BATCH_PURCHASES, "--duration", lab.seconds(4, 1))
                rates.append(told["perSecond"])
            for count, crowd in buyers.items():
                database = lab.name("shop")
                with lab.flash_sale(mongod, database) as server:
                    found[count].append(rehearse(lab, mongod, database, server, count, crowd))
    broken = [sentence for reports in found.values() for report in reports for sentence in report["verdict"]["broken"]]
    result.raw = [{str(count): reports for count, reports in found.items()}]
    rates = {count: [report["purchasesPerSecond"] for report in reports] for count, reports in found.items()}
    result.rows = [Row("1 product", "purchases/s", rates[1])]
    result.rows += [Row(f"{count} products", "purchases/s", rates[count], rates[1], "1 product", ">= 1.0")
                    for count in rates if count > 1]
    result.rows.append(Row(f"transactions of {BATCH_PURCHASES} products, straight through the driver", "purchases/s",
                           bare[BATCH_PURCHASES], bare[1], "1 product, straight through the driver"))
    result.notes = [f"Read back from the database: {'; '.join(broken) if broken else 'every promise was kept'}."]
    return result


def rehearse(lab, mongod, database, server, count, buyers):
    command = [lab.product_program, "rehearse", "--url", server.url, "--products", count, "--buyers", buyers,
               "--stock", buyers, "--connections", CONNECTIONS, "--repeat-share", 0, "--json"]
    settings = {"MONGO_URI": mongod.uri(database), "JWT_SECRET": lab.secret, "RUST_LOG": "error"}
    done = subprocess.run([str(part) for part in command], env=settings, stdout=subprocess.PIPE, cwd=lab.scratch,
                          text=True, check=False)
    return json.loads(done.stdout)


def servers(lab):
    """One product, sold by several servers on one database."""
    counts = (1, 2, 4)
    result = Result("servers", f"Several servers on one database, {CONNECTIONS} connections in all")
    seconds = lab.seconds(6, 1.5)
    found = {count: [] for count in counts}
    with lab.mongod() as mongod:
        for repeat in lab.repeats(result):
            for count in counts:
                found[count].append(sell_from(lab, mongod, count, seconds))
    result.raw = [{str(count): phases for count, phases in found.items()}]
    alone = [per_second(phase) for phase in found[1]]
    result.rows = [Row("1 server", "purchases/s", alone)]
    result.rows += [Row(f"{count} servers", "purchases/s", [per_second(phase) for phase in found[count]], alone,
                        "1 server", ">= 0.8") for count in counts[1:]]
    points = [(count, statistics.median(per_second(phase) for phase in found[count])) for count in counts]
    result.curves = [Curve("servers", result.title, "servers", "purchases/s in all", [Line("one product", points)])]
    return result


def sell_from(lab, mongod, count, seconds, started=()):
    """Starts `count` servers on one database and sends one crowd to all of them."""
    if len(started) < count:
        database = started[0][1] if started else lab.name("shop")
        with lab.flash_sale(mongod, database) as server:
            return sell_from(lab, mongod, count, seconds, (*started, (server, database)))
    all_servers = [server for server, _ in started]
    product = lab.put_on_sale(all_servers[0], STOCK)
    lab.buying(all_servers, product, 0.5, CONNECTIONS, tokens=2_000)
    return lab.buying(all_servers, product, seconds, CONNECTIONS)
