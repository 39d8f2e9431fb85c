"""Registers, buys one unit of what is on sale, and says how it went. Every body and answer is typed by the document."""

import os
import time
import uuid

from flash_sale_client import AuthenticatedClient, Client
from flash_sale_client.api.auth import register
from flash_sale_client.api.products import list_products
from flash_sale_client.api.purchases import purchase
from flash_sale_client.models import PageProduct, Purchase, PurchaseRequest, PurchaseResponse409, RegisterRequest, Session

url = os.environ.get("URL", "http://127.0.0.1:3000")
account = RegisterRequest(name="Ada Lovelace", email=f"{uuid.uuid4()}@shop.example", password=str(uuid.uuid4()))
session = register.sync(client=Client(base_url=url), body=account)
assert isinstance(session, Session), session
client = AuthenticatedClient(base_url=url, token=session.token)

sales = list_products.sync(client=client, status="live", limit=1)
assert isinstance(sales, PageProduct), sales
product = sales.items[0]

# The same key for each try: however often it is sent, it buys once.
key = str(uuid.uuid4())
for _ in range(10):
    answer = purchase.sync_detailed(client=client, body=PurchaseRequest(product_id=product.id), idempotency_key=key)
    if isinstance(answer.parsed, Purchase):
        print(f"bought {product.name}, number {answer.parsed.sequence}")
        break
    if isinstance(answer.parsed, PurchaseResponse409):
        print(answer.parsed.code.value, answer.parsed.detail)
    if "Retry-After" not in answer.headers:
        break
    time.sleep(int(answer.headers["Retry-After"]))
