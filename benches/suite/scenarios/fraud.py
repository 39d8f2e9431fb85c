"""A bot operator with accounts made for the sale, beside people who had theirs before."""

import datetime
import itertools
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from ..results import Result, Row, number

# What the operator has.
ACCOUNTS = 1_000
NETWORKS = 20
# People, with accounts from the day before, each at home.
PEOPLE = 300
UNITS = 100
# The operator begins to make accounts this long before the opening, and stops when everything is sold.
LEAD_SECONDS = 60
PASSWORD = "the right one of them"
OFF = {"REGISTRATIONS_PER_NETWORK": "off", "LOGINS_PER_NETWORK": "off", "READS_PER_NETWORK": "off",
       "PURCHASES_PER_ACCOUNT": "off", "PURCHASES_PER_NETWORK": "off"}
# Half a person's time from seeing the opening to pressing the button is below the median, in seconds.
REACTION_MEDIAN_SECONDS = 1.5
REACTION_SPREAD = 0.6


class Measure:
    """What is switched on, besides what cannot be switched off."""

    def __init__(self, name, settings=(), registered_before=False):
        self.name, self.registered_before = name, registered_before
        self.settings = {**OFF, **dict(settings)}


REGISTRATIONS = {"REGISTRATIONS_PER_NETWORK": "20/1200"}
PURCHASES = {"PURCHASES_PER_NETWORK": "10/60", "PURCHASES_PER_ACCOUNT": "30/6"}
MEASURES = (
    Measure("nothing"),
    Measure("registrations by network", REGISTRATIONS),
    Measure("purchases by network and account", PURCHASES),
    Measure("`registeredBefore`", registered_before=True),
    Measure("all of them", {**REGISTRATIONS, **PURCHASES}, registered_before=True),
)


def fraud(lab):
    """The operator's share of the units over its share of the accounts, with each measure off and on."""
    result = Result("fraud", "A bot operator beside people")
    accounts, people = (40, 12) if lab.options.quick else (ACCOUNTS, PEOPLE)
    found = {measure.name: [] for measure in MEASURES}
    for _ in lab.repeats(result):
        for measure in MEASURES:
            found[measure.name].append(attack(lab, measure, accounts, people))
    for name, attacks in found.items():
        result.rows.append(Row(f"{name}: units of the operator", "%", [one["unitsShare"] * 100 for one in attacks]))
        result.rows.append(Row(f"{name}: accounts of the operator", "%", [one["accountsShare"] * 100 for one in attacks]))
        result.rows.append(Row(f"{name}: units over accounts", "", [one["ratio"] for one in attacks]))
    result.notes = [
        f"The operator wants {ACCOUNTS:,} accounts from {NETWORKS} networks and begins {LEAD_SECONDS} s before the opening; "
        f"{PEOPLE} people have had theirs before and press the button after {REACTION_MEDIAN_SECONDS} s (median); there are "
        f"{UNITS} units, one for each account.",
        "What counts are accounts that were made, and units that were bought.",
    ]
    result.raw = [found]
    return result


def attack(lab, measure, accounts, people):
    settings = {**measure.settings, "TRUSTED_PROXIES": "127.0.0.0/8"}
    with lab.mongod() as mongod, lab.flash_sale(mongod, settings=settings) as server:
        # Each person at an address of his own; the bounds are the usual ones for them, too.
        homes = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(people)]
        with ThreadPoolExecutor(8) as registering:
            tokens = list(registering.map(lambda home: register(lab, server, home), homes))
        before = now()
        opening = time.monotonic() + (5 if lab.options.quick else LEAD_SECONDS)
        product = lab.put_on_sale(server, UNITS, start=at(opening), registeredBefore=before if measure.registered_before else None)
        operator = Operator(lab, server, product, opening, accounts)
        operator.start()
        dice = random.Random(7)
        buyers = [threading.Thread(target=person, args=(lab, server, product, home, token, opening + reaction(dice)))
                  for home, token in zip(homes, tokens)]
        for buyer in buyers:
            buyer.start()
        for buyer in buyers:
            buyer.join()
        operator.stop()
        sold = UNITS - json.loads(lab.request(server, "GET", f"/products/{product}")[2])["stock"]
        units_share = operator.bought / sold if sold else 0
        accounts_share = operator.made / (operator.made + people)
        return {"sold": sold, "bought": operator.bought, "made": operator.made, "refused": operator.refused,
                "unitsShare": units_share, "accountsShare": accounts_share,
                "ratio": units_share / accounts_share if accounts_share else 0}


class Operator:
    """Makes accounts as fast as it may, and buys with each at the opening, or at once after it."""

    def __init__(self, lab, server, product, opening, accounts):
        self.lab, self.server, self.product, self.opening = lab, server, product, opening
        self.numbers = iter(range(accounts))
        self.lock = threading.Lock()
        self.made = self.bought = self.refused = 0
        self.stopping = threading.Event()
        # Two for each network: as fast as the server can hash.
        self.threads = [threading.Thread(target=self.work, args=(network % NETWORKS,)) for network in range(2 * NETWORKS)]
        self.waiting = []

    def start(self):
        for thread in self.threads:
            thread.start()

    def work(self, network):
        while not self.stopping.is_set():
            with self.lock:
                number = next(self.numbers, None)
            if number is None:
                return
            address = f"203.0.113.{network + 1}"
            token = register(self.lab, self.server, address, patient=False)
            if token is None:
                # This network may make no more for now: the operator gives the account up.
                with self.lock:
                    self.refused += 1
                time.sleep(0.2)
                continue
            buyer = threading.Thread(target=self.buy, args=(address, token))
            with self.lock:
                self.made += 1
                self.waiting.append(buyer)
            buyer.start()

    def buy(self, address, token):
        wait_until(self.opening)
        if buy(self.lab, self.server, self.product, address, token) == 201:
            with self.lock:
                self.bought += 1

    def stop(self):
        self.stopping.set()
        for thread in itertools.chain(self.threads, self.waiting):
            thread.join()


def person(lab, server, product, home, token, moment):
    wait_until(moment)
    buy(lab, server, product, home, token)


def reaction(dice):
    return REACTION_MEDIAN_SECONDS * dice.lognormvariate(0, REACTION_SPREAD)


def wait_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at(moment):
    """A moment of the monotonic clock as the API writes it."""
    delta = datetime.timedelta(seconds=moment - time.monotonic())
    moment = datetime.datetime.now(datetime.timezone.utc) + delta
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def register(lab, server, address, patient=True):
    """A new account's token; None if the server refuses for now and there is no patience."""
    name = f"{random.getrandbits(64):016x}"
    body = {"name": "Bench Mark", "email": f"{name}@mail-{name[:4]}.example", "password": PASSWORD}
    while True:
        status, _, answer = lab.request(server, "POST", "/auth/register", body, {"X-Forwarded-For": address})
        if status == 201:
            return json.loads(answer)["token"]
        if not patient:
            return None
        time.sleep(0.5)


def buy(lab, server, product, address, token):
    """Presses until it is decided, as a page does that was told to come again."""
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
    while True:
        status, answer_headers, _ = lab.request(server, "POST", "/products/purchase", {"productId": product}, headers)
        if status == 503:
            time.sleep(1)
        elif status == 409 and any(name.lower() == "retry-after" for name, _ in answer_headers):
            # The clocks differ by some milliseconds: not open yet.
            time.sleep(0.05)
        else:
            return status
