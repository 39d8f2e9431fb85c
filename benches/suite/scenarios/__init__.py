"""The scenarios, by name, in the order in which they run."""

from . import audience, faults, fraud, history, overload, reads, refusals, selling

ALL = {
    "hot-product": selling.hot_product,
    "long-sale": selling.long_sale,
    "transactions": selling.transactions,
    "lone-client": selling.lone_client,
    "products": selling.products,
    "servers": selling.servers,
    "refusals": refusals.refusals,
    "reads": reads.reads,
    "idle-connections": audience.idle_connections,
    "watchers": audience.watchers,
    "feed-latency": audience.feed_latency,
    "arrival": audience.arrival,
    "overload": overload.hot_product,
    "overload-many-products": overload.many_products,
    "overload-one-core": overload.one_core,
    "logins": overload.logins,
    "fraud": fraud.fraud,
    "history": history.history,
    "faults": faults.faults,
}
