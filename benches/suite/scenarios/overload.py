"""More buyers than a shop can serve: what it still sells, what it answers to the others, and how soon it recovers."""

import json
import statistics

from ..lab import latency, per_second
from ..results import Curve, Line, Result, Row, number

FACTORS = (0.5, 1, 2, 5, 10)
# The database's share of one core: it saturates first, as in production, and the crowd can send ten times its capacity.
DATABASE_SHARE = 0.1
# With many products each purchase costs the database more.
DATABASE_SHARE_MANY = 0.2
# Fewer than the server admits: refused clients who return at once would take its time.
CAPACITY_CONNECTIONS = 1_000
# Enough to send ten times the capacity while refusals are quick; a connection costs the server most at its first use.
CONNECTIONS = 6_000
# Without limits the server accepts all that come: here as many as one address has ports, if the file limit allows it.
CONNECTIONS_UNBOUNDED = 26_000
FILES_FOR_OTHERS = 500
# A good answer comes within this time.
GOODPUT_MS = 2_000
# The crowd after the storm; the storm's connections are still open.
CALM_CONNECTIONS = 1_000
BUYERS = 100_000
STOCK = 100_000_000
# A second counts as normal if its p99 is at most this, or at most twice the p99 of the calm before.
CALM_P99_MS = 50
LOGINS_PER_SECOND = 200


def hot_product(lab):
    """Everybody wants the same product."""
    return overload(lab, "overload", "Overload, one product", products=1)


def many_products(lab):
    """The crowd spreads over many products: a transaction has fewer purchases of each, so the capacity is smaller."""
    return overload(lab, "overload-many-products", "Overload, 200 products", products=200, share=DATABASE_SHARE_MANY)


def one_core(lab):
    """Server and database compete for one half of the cores. The crowd cannot send ten times that capacity."""
    return overload(lab, "overload-one-core", "Overload, server and database on one core", products=1, share=None,
                    factors=(0.5, 1, 2))


class Sale:
    """The sale that the crowd buys from. The limit is so high that the same buyers may come again and again."""

    def __init__(self, lab, server, products, connections=CONNECTIONS):
        self.lab, self.server, self.connections = lab, server, connections
        ids = [lab.put_on_sale(server, STOCK, limit=1000) for _ in range(products)]
        self.bodies = lab.scratch / lab.name("bodies")
        self.bodies.write_text("".join(json.dumps({"productId": product}) + "\n" for product in ids))

    def crowd(self, **options):
        return self.lab.crowd(self.server, tokens=BUYERS, bodies=self.bodies, **options)

    def capacity(self, seconds):
        """The purchases per second in a closed loop."""
        self.crowd(connections=CAPACITY_CONNECTIONS, duration=1)
        return per_second(self.crowd(connections=CAPACITY_CONNECTIONS, duration=seconds)[0])

    def at(self, rate, seconds):
        return self.crowd(connections=self.connections, rate=rate, duration=seconds)[0]


def overload(lab, name, title, products, share=DATABASE_SHARE, factors=FACTORS):
    """The product, then the product without its limits, under the same multiples of its capacity."""
    result = Result(name, title)
    # A database with so little processor time is uneven: over fewer seconds chance decides.
    seconds = lab.seconds(12, 2)
    factors = (factors[0], factors[-1]) if lab.options.quick else factors
    found = {}
    with lab.apart(), lab.mongod(share) as mongod:
        with lab.flash_sale(mongod) as server:
            sale = Sale(lab, server, products)
            capacity = sale.capacity(seconds)
            lab.show(f"{name}: capacity {number(capacity)} purchases/s")
            found["flash-sale"] = storm(lab, name, sale, capacity, factors, seconds)
            recovery = recover(sale, capacity, factors[-1], seconds)
        with lab.rival("unbounded-server", "--mongo-uri", mongod.uri(lab.name("unbounded"))) as server:
            connections = min(CONNECTIONS_UNBOUNDED, lab.options.files_max - FILES_FOR_OTHERS)
            sale = Sale(lab, server, products, connections)
            sale.capacity(1)
            found["without limits"] = storm(lab, name, sale, capacity, factors, seconds)
    result.raw = [{"capacity": capacity, "recovery": recovery, **{who: list(phases.values()) for who, phases in found.items()}}]
    fill(result, capacity, share, found, recovery)
    return result


def storm(lab, name, sale, capacity, factors, seconds):
    phases = {}
    for factor in factors:
        lab.show(f"{name}: {factor} × capacity")
        phases[factor] = sale.at(capacity * factor, seconds)
    return phases


def recover(sale, capacity, factor, seconds):
    """The largest load, then without a pause half of the capacity."""
    return sale.crowd(phase=[f"{capacity * factor:.0f}:{seconds}:{CONNECTIONS}",
                             f"{capacity / 2:.0f}:{max(seconds, 6)}:{CALM_CONNECTIONS}"])


def seconds_until_calm(phase, calm_p99_ms):
    """The number of the first second, from 1, that is as calm as before the storm."""
    limit = max(CALM_P99_MS, 2 * calm_p99_ms)
    for second in phase["series"]:
        if second["latencies"] and second["latencies"]["p99Ms"] <= limit and not second["turnedAway"]:
            return second["second"] + 1
    return len(phase["series"]) + 1


def longest(phase):
    return max((answer["maxMs"] for answer in phase["answers"]), default=0)


def purchase_p99(phase):
    return latency(phase, "bought", "p99Ms")


def fill(result, capacity, share, found, recovery):
    ours, unbounded = found["flash-sale"], found["without limits"]
    worst = max(ours)
    for who, phases in found.items():
        best = max(phase["goodPerSecond"] for phase in phases.values())
        result.rows.append(Row(f"{who}: goodput at {worst} × capacity beside its best", "/s",
                               [phases[worst]["goodPerSecond"]], [best], "best", ">= 0.9"))
    for factor, phase in ours.items():
        beside = unbounded[factor]
        result.rows += [
            Row(f"{factor} × capacity: goodput", "/s", [phase["goodPerSecond"]], [beside["goodPerSecond"]], "without limits"),
            Row(f"{factor} × capacity: longest answer", "ms", [longest(phase)], target=f"<= {GOODPUT_MS}"),
            Row(f"{factor} × capacity: longest answer without limits", "ms", [longest(beside)]),
        ]
        refused = next((answer for answer in phase["answers"] if answer["kind"] == "overloaded"), None)
        if refused:
            result.rows += [
                Row(f"{factor} × capacity: p99 of 503 since it was sent", "ms", [refused["sinceSent"]["p99Ms"]],
                    target="<= 20"),
                Row(f"{factor} × capacity: p99 of 503 since it was due", "ms", [refused["p99Ms"]]),
            ]
    calm_p99_ms = purchase_p99(ours[0.5]) or 0
    result.rows.append(Row(f"from {worst} × to 0.5 ×: normal again in second", "s",
                           [seconds_until_calm(recovery[1], calm_p99_ms)], target="<= 5"))
    result.notes.append(
        f"The server had one half of the cores to itself; the crowd and MongoDB ran on the other, MongoDB for at most {share} "
        "of a core's time." if share else
        "Server and MongoDB ran on one half of the cores, the crowd on the other: so an overloaded server does not keep the "
        "crowd from sending.")
    result.notes.append(f"capacity C, measured in a closed loop with {CAPACITY_CONNECTIONS:,} connections: {number(capacity)} "
                        f"purchases/s; goodput counts purchases and final refusals within {GOODPUT_MS:,} ms, not 503")
    for who, phases in found.items():
        for factor, phase in phases.items():
            kinds = ", ".join(f"{answer['count']} {answer['kind']}" for answer in phase["answers"])
            result.notes.append(
                f"{who} at {factor} × C: {phase['offered']:,} requests were due, {phase['sent']:,} were sent by "
                f"{phase['connections']:,} connections ({number(phase['sent'] / phase['seconds'] / capacity)} × C): {kinds}")
    result.curves = [
        Curve(f"{result.name}-goodput", f"{result.title}: goodput", "load, × capacity", "good answers/s",
              [Line(who, [(factor, phase["goodPerSecond"]) for factor, phase in phases.items()])
               for who, phases in found.items()]),
        Curve(f"{result.name}-latency", f"{result.title}: p99 of a purchase", "load, × capacity", "ms",
              [Line(who, [(factor, purchase_p99(phase)) for factor, phase in phases.items()])
               for who, phases in found.items()], logarithmic=True),
        Curve(f"{result.name}-recovery", f"{result.title}: from {worst} × to 0.5 ×", "s since the change", "p99 of all answers, ms",
              [Line("flash-sale", [(second["second"] + 1, second["latencies"]["p99Ms"])
                                   for second in recovery[1]["series"] if second["latencies"]])], logarithmic=True),
    ]


def logins(lab):
    """A storm of logins beside a sale at half of its capacity."""
    return beside_a_storm(lab, Result("logins", f"A sale at half capacity while {LOGINS_PER_SECOND} logins/s come in"))


def registrations(lab):
    """The same while as many accounts are registered besides, from one address that has no bound."""
    result = Result("registrations", f"A sale at half capacity while {LOGINS_PER_SECOND} logins/s and {LOGINS_PER_SECOND} "
                                     "registrations/s come in")
    return beside_a_storm(lab, result, "--registrations")


def beside_a_storm(lab, result, *arguments):
    seconds = lab.seconds(8, 2)
    calm, stormy, storms = [], [], []
    with lab.mongod() as mongod, lab.flash_sale(mongod) as server:
        sale = Sale(lab, server, 1)
        rate = sale.capacity(seconds) / 2
        for repeat in lab.repeats(result):
            calm.append(sale.crowd(connections=CALM_CONNECTIONS, rate=rate, duration=seconds)[0])
            # The storm outlasts the buyers, whose figures count.
            process = lab.start("logins", "--url", server.url, "--rate", LOGINS_PER_SECOND, "--duration", seconds + 4, *arguments)
            with process:
                stormy.append(sale.crowd(connections=CALM_CONNECTIONS, rate=rate, duration=seconds)[0])
                storms.append(json.loads(process.rest_of_output()))
    for figure, name, target in (("p50Ms", "p50", None), ("p99Ms", "p99", "<= 1.2")):
        result.rows.append(Row(f"purchase {name}", "ms", [latency(phase, "bought", figure) for phase in stormy],
                               [latency(phase, "bought", figure) for phase in calm], "without them", target))
    answered = statistics.median(storm["answersPerSecond"] for storm in storms)
    # The crowd takes every 201 for a purchase.
    kinds = ", ".join(f"{answer['count']} {answer['kind'].replace('bought', 'registered')}" for answer in storms[-1]["answers"])
    result.notes = [f"{number(rate)} purchases/s were due; {number(answered)} of them were answered each second: {kinds}"]
    result.raw = [{"calm": calm, "stormy": stormy, "logins": storms}]
    return result
