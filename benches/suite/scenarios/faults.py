"""A hot sale, and something that dies or stands still in the middle of it: how soon it sells again."""

import os
import signal
import time

from ..results import Result, Row, number

BUYERS = 50_000
CONNECTIONS = 200
STOCK = 100_000_000
# Long enough for the driver to give its connections up.
STANDSTILL_SECONDS = 8
PATIENCE_SECONDS = 180
DATABASE = "faults"


def faults(lab):
    """A server is killed beside another; the database stands still."""
    result = Result("faults", "Something dies in the middle of a hot sale")
    with lab.mongod() as mongod, lab.flash_sale(mongod, DATABASE) as survivor:
        product = lab.put_on_sale(survivor, STOCK, limit=1000)
        killed, frozen = [], []
        for _ in lab.repeats(result):
            killed.append(after_a_kill(lab, mongod, survivor, product))
            frozen.append(after_a_standstill(lab, mongod, survivor, product))
    result.rows = [
        Row("a server is killed: the other sells again", "s", killed, target="<= 15"),
        Row(f"the database stands still for {STANDSTILL_SECONDS} s: it is sold again", "s", frozen, target="<= 5"),
    ]
    worst = number(max(killed)), number(max(frozen))
    result.notes = [f"The worst were {worst[0]} s and {worst[1]} s. A server that dies between two transactions leaves nothing "
                    "behind, so several tries tell more than one."]
    return result


def buying(lab, server, product, seconds):
    """A crowd that goes on beside what happens."""
    return lab.start("crowd", "--url", server.url, "--secret", lab.secret, "--tokens", BUYERS, "--connections", CONNECTIONS,
                     "--duration", seconds, "--body", f'{{"productId":"{product}"}}')


def after_a_kill(lab, mongod, survivor, product):
    with lab.flash_sale(mongod, DATABASE) as victim, buying(lab, victim, product, 30):
        time.sleep(2)
        os.kill(victim.pid, signal.SIGKILL)
        return seconds_until_sold(lab, survivor, product)


def after_a_standstill(lab, mongod, server, product):
    with buying(lab, server, product, STANDSTILL_SECONDS + 30):
        time.sleep(2)
        os.kill(mongod.pid, signal.SIGSTOP)
        try:
            time.sleep(STANDSTILL_SECONDS)
        finally:
            os.kill(mongod.pid, signal.SIGCONT)
        return seconds_until_sold(lab, server, product)


def seconds_until_sold(lab, server, product):
    start = time.monotonic()
    headers = {"Authorization": f"Bearer {lab.token()}"}
    while time.monotonic() - start < PATIENCE_SECONDS:
        status, _, _ = lab.request(server, "POST", "/products/purchase", {"productId": product}, headers)
        if status == 201:
            break
    return time.monotonic() - start
