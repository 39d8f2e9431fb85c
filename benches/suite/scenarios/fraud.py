"""A bot operator with accounts made for the sale, beside people who had theirs before."""

import itertools
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from ..processes import Failed
from ..results import Result, Row
from .refusals import in_seconds

# What the operator has.
ACCOUNTS = 1_000
NETWORKS = 20
# People with an account, each at home.
PEOPLE = 300
UNITS = 100
# The operator begins to make accounts this long before the opening, and stops when everything is sold.
LEAD_SECONDS = 180
SALE_SECONDS_MAX = 120
PASSWORD = "the right one of them"
# Half of the people press the button sooner than this after the opening, in seconds; the spread is that of the logarithm.
REACTION_MEDIAN_SECONDS = 1.5
REACTION_SPREAD = 0.6
# How long a bot or a page waits that was not told how long, in seconds.
PAUSE_SECONDS = 0.05

OFF = {"REGISTRATIONS_PER_NETWORK": "off", "LOGINS_PER_NETWORK": "off", "READS_PER_NETWORK": "off",
       "PURCHASES_PER_ACCOUNT": "off", "PURCHASES_PER_NETWORK": "off"}
REGISTRATIONS = {"REGISTRATIONS_PER_NETWORK": "20/1200"}
BY_ACCOUNT = {"PURCHASES_PER_ACCOUNT": "30/6"}
# For a shop whose customers have addresses of their own; the default is none.
BY_NETWORK = {"PURCHASES_PER_NETWORK": "2/60"}


class Measure:
    """What is switched on, besides what cannot be switched off."""

    def __init__(self, name, settings=(), registered_before=False):
        self.name, self.registered_before = name, registered_before
        self.settings = {**OFF, **dict(settings)}


MEASURES = (
    Measure("none"),
    Measure("registrations by network, 20/1200 (a default)", REGISTRATIONS),
    Measure("purchases by account, 30/6 (a default)", BY_ACCOUNT),
    Measure("purchases by network, 2/60", BY_NETWORK),
    Measure("`registeredBefore`", registered_before=True),
    Measure("all of them", {**REGISTRATIONS, **BY_ACCOUNT, **BY_NETWORK}, registered_before=True),
)


class Crowd:
    """How many there are of everything."""

    def __init__(self, lab):
        self.accounts, self.people, self.units, self.lead_seconds = lab.seconds(
            (ACCOUNTS, PEOPLE, UNITS, LEAD_SECONDS), (80, 30, 20, 8))


def fraud(lab):
    """The operator's share of the units over its share of the accounts, with each measure off and on."""
    result = Result("fraud", "A bot operator beside people: its share of the units, and of the accounts")
    crowd = Crowd(lab)
    found = {measure.name: [] for measure in MEASURES}
    for _ in lab.repeats(result):
        for measure in MEASURES:
            lab.show(f"fraud: {measure.name}")
            found[measure.name].append(attack(lab, measure, crowd))
    for name, attacks in found.items():
        result.rows.append(Row(name, "% of the units", [one["unitsShare"] * 100 for one in attacks],
                               [one["accountsShare"] * 100 for one in attacks], "% of the accounts"))
    result.notes = [
        f"The operator wants {crowd.accounts:,} accounts from {NETWORKS} networks, makes them from {crowd.lead_seconds} s before the "
        f"opening until everything is sold, and buys with each of them at the opening, or at once. {crowd.people} people have had "
        f"theirs before, each on a network of their own; half of them press the button within {REACTION_MEDIAN_SECONDS} s, and the "
        f"others later (log-normal, spread {REACTION_SPREAD}). There are {crowd.units} units, one for each account.",
        "A ratio of 1 would be an operator that gets what as many people get. Less is better.",
    ]
    for name, attacks in found.items():
        result.notes.append(f"{name}: " + "; ".join(
            f"the operator made {one['made']} accounts and bought {one['bought']} of {one['sold']} units; all were sold after "
            f"{one['seconds']:.1f} s" for one in attacks))
    result.raw = [found]
    return result


def attack(lab, measure, crowd):
    settings = {**measure.settings, "TRUSTED_PROXIES": "127.0.0.0/8"}
    with lab.mongod() as mongod, lab.flash_sale(mongod, settings=settings) as server:
        homes = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(crowd.people)]
        # Signed as the server signs them; the moment of registration in them is now.
        with ThreadPoolExecutor(4) as signing:
            tokens = list(signing.map(lambda home: lab.token(), homes))
        before = {"registeredBefore": in_seconds(0)} if measure.registered_before else {}
        opening = time.monotonic() + crowd.lead_seconds
        product = lab.put_on_sale(server, crowd.units, start=in_seconds(crowd.lead_seconds), **before)
        sold_out = threading.Event()
        operator = Operator(lab, server, product, opening, crowd.accounts, sold_out)
        operator.start()
        dice = random.Random(7)
        people = [threading.Thread(target=buy, args=(lab, server, product, home, token, opening + reaction(dice), sold_out),
                                   daemon=True) for home, token in zip(homes, tokens)]
        for buyer in people:
            buyer.start()
        seconds = seconds_until_sold(lab, server, product, opening)
        sold_out.set()
        for buyer in people:
            buyer.join()
        operator.join()
        sold = crowd.units - stock(lab, server, product)
        return {"sold": sold, "bought": operator.bought, "made": operator.made,
                "seconds": seconds, "unitsShare": operator.bought / sold,
                "accountsShare": operator.made / (operator.made + crowd.people)}


class Operator:
    """Makes accounts as fast as it may, and buys with each at the opening, or at once after it."""

    def __init__(self, lab, server, product, opening, accounts, sold_out):
        self.lab, self.server, self.product, self.opening = lab, server, product, opening
        self.numbers = iter(range(accounts))
        self.lock = threading.Lock()
        self.made = self.bought = 0
        self.sold_out = sold_out
        # Two for each network: as fast as the server can hash.
        self.threads = [threading.Thread(target=self.work, args=(number % NETWORKS,), daemon=True) for number in range(2 * NETWORKS)]
        self.buying = []

    def start(self):
        for thread in self.threads:
            thread.start()

    def work(self, network):
        address = f"203.0.113.{network + 1}"
        while not self.sold_out.is_set():
            with self.lock:
                number = next(self.numbers, None)
            if number is None:
                return
            token = self.register(address)
            if token is None:
                return
            buyer = threading.Thread(target=self.buy, args=(address, token), daemon=True)
            with self.lock:
                self.made += 1
                self.buying.append(buyer)
            buyer.start()

    def register(self, address):
        """A new account's token, however long it takes; None if everything is sold before."""
        name = f"{random.getrandbits(64):016x}"
        body = {"name": "Bench Mark", "email": f"{name}@mail-{name[:4]}.example", "password": PASSWORD}
        while not self.sold_out.is_set():
            status, _, answer = self.lab.request(self.server, "POST", "/auth/register", body, {"X-Forwarded-For": address})
            if status == 201:
                return json.loads(answer)["token"]
            if status not in (429, 503):
                raise Failed(f"an account was not registered: {status} {answer.decode()}")
            # Not for as long as the answer says: whoever wants as many as possible tries.
            time.sleep(0.5)
        return None

    def buy(self, address, token):
        if buy(self.lab, self.server, self.product, address, token, self.opening, self.sold_out):
            with self.lock:
                self.bought += 1

    def join(self):
        for thread in itertools.chain(self.threads, self.buying):
            thread.join()


def reaction(dice):
    return REACTION_MEDIAN_SECONDS * dice.lognormvariate(0, REACTION_SPREAD)


def wait_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


def stock(lab, server, product):
    return json.loads(lab.request(server, "GET", f"/products/{product}")[2])["stock"]


def seconds_until_sold(lab, server, product, opening):
    wait_until(opening)
    while stock(lab, server, product):
        if time.monotonic() > opening + SALE_SECONDS_MAX:
            raise Failed("the units were not sold")
        time.sleep(0.1)
    return time.monotonic() - opening


def buy(lab, server, product, address, token, moment, sold_out):
    """Presses at that moment, and until it is decided, as a page does that was told to come again. True if it has bought."""
    wait_until(moment)
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
    while True:
        status, answer_headers, _ = lab.request(server, "POST", "/products/purchase", {"productId": product}, headers)
        again = next((float(value) for name, value in answer_headers if name.lower() == "retry-after"), None)
        if status in (429, 503):
            if sold_out.wait(again or PAUSE_SECONDS):
                return False
        elif status == 409 and again is not None:
            # The clocks differ by some milliseconds: not open yet.
            time.sleep(PAUSE_SECONDS)
        else:
            return status == 201
