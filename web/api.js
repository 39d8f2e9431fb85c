// Talks to the server: JSON in and out, and two kinds of failure. A `Problem` is an answer of the server (RFC 9457),
// with a `code` to decide by. `Unreachable` means no answer, so what the server did is unknown.

import { money } from './format.js';
import * as session from './session.js';

/// An error answer of the server.
export class Problem extends Error {
  constructor(status, body, headers) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.code = body.code ?? '';
    this.body = body;
    const seconds = Number(headers.get('Retry-After'));
    this.retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : null;
  }
}

/// No answer came: no network, no server, or too late.
export class Unreachable extends Error {
  constructor() {
    super('The shop cannot be reached.');
  }
}

const TIMEOUT_MS = 15_000;

/// Sends a request and returns `{status, data, text, etag, headers}`. Throws `Problem`, `Unreachable`, or the
/// `AbortError` of an aborted `signal`. An `anonymous` request carries no token, any other the one of the login unless
/// `token` is another.
export async function request(method, path, {
  body, headers = {}, signal, timeout = TIMEOUT_MS, anonymous = false, token = anonymous ? null : session.current()?.token,
} = {}) {
  const all = { Accept: 'application/json', ...headers };
  if (token) all.Authorization = `Bearer ${token}`;
  if (body !== undefined) all['Content-Type'] = 'application/json';
  const patience = AbortSignal.timeout(timeout);
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers: all,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    text = await response.text();
  } catch {
    signal?.throwIfAborted();
    throw new Unreachable();
  }
  const data = parse(text);
  if (!response.ok && response.status !== 304) {
    const problem = new Problem(response.status, data ?? {}, response.headers);
    // Only if the token is still the same: another tab may have logged in meanwhile.
    const why = whyOver(problem);
    if (token && why && session.current()?.token === token) session.end(why);
    throw problem;
  }
  return { status: response.status, data, text, etag: response.headers.get('ETag'), headers: response.headers };
}

/// Why an answer ends the login, in a sentence; null if it does not.
function whyOver({ code }) {
  switch (code) {
    case 'token_expired': return 'Your login has expired. Log in again to go on.';
    case 'unauthenticated': return 'You have been logged out: this login was ended. Log in again to go on.';
    case 'account_disabled': return 'You have been logged out: this account is disabled. Ask the shop if that is a mistake.';
    default: return null;
  }
}

/// Whether the server refuses the token; wrong credentials are another 401.
export function loginIsOver(error) {
  return error instanceof Problem && (error.code === 'token_expired' || error.code === 'unauthenticated');
}

// Reads are repeated: in a crowd the server answers some of them with 503, to come back in a second.
const READ_ATTEMPTS = 4;

async function read(path, options) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await request('GET', path, options);
    } catch (error) {
      if (error.status !== 503 || attempt === READ_ATTEMPTS) throw error;
      const wait = (error.retryAfter ?? 1000) * (0.5 + attempt * Math.random());
      await new Promise((resolve) => setTimeout(resolve, wait));
      options.signal?.throwIfAborted();
    }
  }
}

// Answers that can be revalidated with If-None-Match; the oldest is dropped first.
const KEPT_MAX = 60;
const kept = new Map();

/// GET of a public resource. After a 304 it returns the earlier answer with `changed: false`.
export async function get(path, { signal } = {}) {
  const known = kept.get(path);
  const answer = await read(path, { signal, anonymous: true, headers: known ? { 'If-None-Match': known.etag } : {} });
  if (answer.status === 304 && known) return { ...known, changed: false };
  kept.delete(path);
  if (answer.etag) {
    kept.set(path, { data: answer.data, etag: answer.etag });
    if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value);
  }
  return { data: answer.data, etag: answer.etag, changed: true };
}

/// Appends the query to the path, without empty parameters.
export function pathOf(path, query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(name, value);
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    // Perhaps a proxy's page: then only the status counts.
    return null;
  }
}

const STANDS = { pending: 'not paid for yet', confirmed: 'confirmed', expired: 'expired', canceled: 'canceled', refunded: 'refunded' };

/// A failure as a sentence for the visitor.
export function inWords(error) {
  if (error instanceof Unreachable) {
    return navigator.onLine ? 'The shop cannot be reached. Check your connection.' : 'Your device is offline.';
  }
  if (!(error instanceof Problem)) return 'Something went wrong on this page.';
  switch (error.code) {
    case 'rate_limited': return `Too many attempts. Try again in ${Math.ceil((error.retryAfter ?? 1000) / 1000)} s.`;
    case 'overloaded': return 'The shop is very busy at the moment. Try again shortly.';
    case 'database_unavailable': return 'The shop has lost touch with its database. Nothing was changed; try again shortly.';
    case 'outcome_unknown': return 'The shop does not know yet whether it worked.';
    case 'internal': return `Something went wrong in the shop (request ${error.body.instance}).`;
    case 'forbidden': return 'Only an admin may do this.';
    case 'account_disabled': return 'This account is disabled. Ask the shop if that is a mistake.';
    case 'last_admin': return 'This is the last admin who can log in. Make somebody else an admin first.';
    case 'token_expired': return 'Your login has expired. Log in again.';
    case 'unauthenticated': return 'Log in to go on.';
    case 'purchase_not_found': return 'There is no such purchase.';
    case 'purchase_not_pending': return `That is not possible any more: this purchase is ${STANDS[error.body.purchaseStatus] ?? 'not pending'}.`;
    case 'payment_unfillable':
      return 'The payment came too late: the units are gone, or the limit is used up. The money has to go back.';
    case 'amount_mismatch': return `Not paid: this purchase costs ${money(error.body.total)}.`;
    case 'product_not_found': return 'This sale does not exist, or was removed.';
    default: return error.message;
  }
}
