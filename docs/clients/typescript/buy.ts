// Registers, buys one unit of what is on sale, and says how it went. Every path, body and answer is typed by the document.
import createClient from "openapi-fetch";
import { randomUUID } from "node:crypto";
import type { paths } from "./schema.js";

const api = createClient<paths>({ baseUrl: process.env.URL ?? "http://127.0.0.1:3000" });

const account = await api.POST("/auth/register", {
  body: { name: "Ada Lovelace", email: `${randomUUID()}@shop.example`, password: randomUUID() },
});
if (account.error) throw new Error(account.error.detail);
const headers = { Authorization: `Bearer ${account.data.token}` };

const sales = await api.GET("/products", { params: { query: { status: "live", limit: 1 } } });
const product = sales.data?.items[0];
if (!product) throw new Error("nothing is on sale");

// The same key for each try: however often it is sent, it buys once.
const params = { header: { "Idempotency-Key": randomUUID() } };
for (let tries = 0; tries < 10; tries++) {
  const { data, error, response } = await api.POST("/products/purchase", { headers, params, body: { productId: product.id } });
  if (data) {
    console.log(`bought ${product.name}, number ${data.sequence}`);
    break;
  }
  const retryAfter = Number(response.headers.get("Retry-After"));
  if (error.code === "sold_out") console.log(`sold out, ${error.remaining} left`);
  else if (error.code === "purchase_limit_reached") console.log(`only ${error.limit} for each`);
  else if (retryAfter === 0) console.log(error.detail);
  else {
    await new Promise((done) => setTimeout(done, retryAfter * 1000));
    continue;
  }
  break;
}
