"""The product beside earlier builds of it, in turn."""

import json

from ..lab import latency, per_second
from ..processes import Failed
from ..results import Result, Row
from .payments import Spent, count_of, in_turn
from .refusals import BUYERS, CONNECTIONS as REFUSED_CONNECTIONS
from .selling import CONNECTIONS, STOCK, cost_note

# As many as there are buyers behind addresses of their own.
NETWORKS = 100_000
# Everything that a request can be bounded by is on, and lets this crowd through.
EVERYTHING = {"TRUSTED_PROXIES": "127.0.0.0/8", "PURCHASES_PER_ACCOUNT": "1000/6", "PURCHASES_PER_NETWORK": "100000/60"}


def earlier(lab):
    """Purchases and refusals, beside each of the programs that `--earlier` names."""
    result = Result("earlier", "Beside earlier builds, in turn, with every bound on")
    if not lab.options.earlier:
        raise Failed("name the earlier builds by --earlier")
    with lab.mongod() as mongod:
        for name, ratio, program in lab.options.earlier:
            beside(lab, mongod, result, name, float(ratio), program)
    result.notes.insert(
        0, f"The crowd comes from {NETWORKS:,} networks, as a proxy tells them, and each request is counted against its account and its "
        f"network. {CONNECTIONS} connections buy, {REFUSED_CONNECTIONS} are told that everything is sold. An earlier build has the bounds "
        "that it knows.")
    return result


def beside(lab, mongod, result, name, ratio, program):
    ours, theirs = [], []
    for repeat in lab.repeats(result):
        for found, one in in_turn(repeat, (theirs, program), (ours, None)):
            with lab.flash_sale(mongod, settings=EVERYTHING, program=one) as server:
                found.append(both(lab, mongod, server))
    result.raw.append({"name": name, "ours": ours, "theirs": theirs})
    target = f">= {ratio}"
    for what, kind, unit in (("purchases", "bought", "/s"), ("refusals", "sold out", "/s")):
        result.rows.append(Row(f"{what}, beside {name}", unit, [per_second(one[kind], kind) for one in ours],
                               [per_second(one[kind], kind) for one in theirs], name, target))
    result.rows.append(Row(f"p99 of a purchase, beside {name}", "ms", [latency(one["bought"], "bought", "p99Ms") for one in ours],
                           [latency(one["bought"], "bought", "p99Ms") for one in theirs], name))
    for what in ("purchase", "refusal"):
        result.notes += [cost_note(who, [one["costs"][what] for one in found], what) for who, found in (("flash-sale", ours), (name, theirs))]


def both(lab, mongod, server):
    seconds = lab.seconds(5, 1)
    product = lab.put_on_sale(server, STOCK)
    lab.buying(server, product, 0.5, CONNECTIONS, tokens=2_000, networks=NETWORKS)
    spent, costs = Spent(server, mongod), {}
    bought = lab.buying(server, product, seconds, CONNECTIONS, networks=NETWORKS)
    costs["purchase"] = spent.per(count_of(bought, "bought"))
    sold_out = lab.put_on_sale(server, 100)
    lab.buying(server, sold_out, 10, 50, tokens=100)
    lab.wait_until(server, sold_out, "sold_out")
    body = json.dumps({"productId": sold_out}, separators=(",", ":"))
    spent = Spent(server, mongod)
    refused = lab.crowd(server, tokens=BUYERS, connections=REFUSED_CONNECTIONS, duration=lab.seconds(3, 1), body=body,
                        networks=NETWORKS)[0]
    costs["refusal"] = spent.per(count_of(refused, "sold out"))
    return {"bought": bought, "sold out": refused, "costs": costs}
