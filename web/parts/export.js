// Saves the purchases of a sale as a file, for a spreadsheet.

import { pathOf } from '../api.js';
import { announce } from '../announce.js';
import { saveFile } from '../dom.js';
import { asAdmin } from './admin.js';
import { tell } from './confirm.js';

// A sale has up to hundreds of thousands of purchases.
const EXPORT_MS_MAX = 10 * 60_000;

/// Asks for a product's purchases as CSV and has the browser save them. A link cannot do this: the request needs the
/// token.
export async function exportPurchases({ id, name }) {
  announce('The purchases are being prepared.');
  const { text, headers } = await asAdmin('GET', pathOf('/purchases', { productId: id, order: 'asc' }), {
    headers: { Accept: 'text/csv' }, timeout: EXPORT_MS_MAX,
  });
  if (!/^text\/csv\b/.test(headers.get('Content-Type') ?? '')) {
    return tell({ title: 'There is no export', text: 'This server cannot write purchases as CSV.' });
  }
  // The mark at the start tells spreadsheets that this is UTF-8.
  const file = new Blob(['\uFEFF', text], { type: 'text/csv' });
  saveFile(file, `purchases ${fileName(name)} ${id.slice(-6)}.csv`);
  announce('The purchases are saved.');
}

/// A name without the characters that some file system refuses.
function fileName(name) {
  return name.replace(/[^\p{L}\p{N} ._-]+/gu, '').trim().slice(0, 60);
}
