"""A server dies, or the database freezes, in the middle of a hot sale: how soon the sale goes on."""

import os
import signal
import threading
import time

from ..results import Result, Row, number

BUYERS = 50_000
CONNECTIONS = 200
STOCK = 100_000_000
# Longer than the driver waits for a heartbeat before it closes its connections.
STANDSTILL_SECONDS = 14
STANDSTILL_BUYERS = 3
PATIENCE_SECONDS = 180
DATABASE = "faults"


def faults(lab):
    """One of two servers is killed while a crowd buys; the database freezes while a few buy."""
    result = Result("faults", "Something dies or stands still in the middle of a sale")
    with lab.mongod() as mongod, lab.flash_sale(mongod, DATABASE) as survivor:
        killed, frozen = [], []
        for _ in lab.repeats(result):
            frozen.append(after_a_standstill(lab, mongod, survivor, lab.put_on_sale(survivor, STOCK, limit=1000)))
            killed.append(after_a_kill(lab, mongod, survivor, lab.put_on_sale(survivor, STOCK, limit=1000)))
    result.rows = [
        Row("a server is killed: the other sells again", "s", killed, target="<= 15"),
        Row(f"the database stands still for {STANDSTILL_SECONDS} s: it is sold again", "s", frozen, target="<= 5"),
    ]
    worst = number(max(killed)), number(max(frozen))
    result.notes = [f"The worst were {worst[0]} s and {worst[1]} s. A server that dies between two transactions leaves nothing "
                    "behind, so several tries tell more than one."]
    return result


def buying(lab, server, product, seconds):
    """A crowd that keeps buying in the background."""
    return lab.start("crowd", "--url", server.url, "--secret", lab.secret, "--tokens", BUYERS, "--connections", CONNECTIONS,
                     "--duration", seconds, "--body", f'{{"productId":"{product}"}}')


def after_a_kill(lab, mongod, survivor, product):
    with lab.flash_sale(mongod, DATABASE) as victim, buying(lab, victim, product, 30):
        time.sleep(2)
        os.kill(victim.pid, signal.SIGKILL)
        return seconds_until_sold(lab, survivor, product)


def after_a_standstill(lab, mongod, server, product):
    """Known buyers come again meanwhile: the database begins their transaction only after they have gone."""
    token = lab.token()
    buy(lab, server, product, token)
    buyers = [threading.Thread(target=buy, args=(lab, server, product, token)) for _ in range(STANDSTILL_BUYERS)]
    os.kill(mongod.pid, signal.SIGSTOP)
    try:
        for buyer in buyers:
            buyer.start()
        time.sleep(STANDSTILL_SECONDS)
    finally:
        os.kill(mongod.pid, signal.SIGCONT)
    seconds = seconds_until_sold(lab, server, product)
    for buyer in buyers:
        buyer.join()
    return seconds


def seconds_until_sold(lab, server, product):
    token = lab.token()
    start = time.monotonic()
    while buy(lab, server, product, token) != 201 and time.monotonic() - start < PATIENCE_SECONDS:
        pass
    return time.monotonic() - start


def buy(lab, server, product, token):
    headers = {"Authorization": f"Bearer {token}"}
    status, _, _ = lab.request(server, "POST", "/products/purchase", {"productId": product}, headers)
    return status
