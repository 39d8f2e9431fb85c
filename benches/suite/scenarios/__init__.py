"""The scenarios, by name, in the order in which they run."""

from . import audience, earlier, faults, fraud, history, overload, payments, reads, refusals, selling

ALL = {
    "hot-product": selling.hot_product,
    "stored-orders": selling.stored_orders,
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
    "registrations": overload.registrations,
    "payment-window": payments.payment_window,
    "confirms": payments.confirms,
    "going-round": payments.going_round,
    "expiry": payments.expiry,
    "fraud": fraud.fraud,
    "history": history.history,
    "faults": faults.faults,
    "earlier": earlier.earlier,
}
