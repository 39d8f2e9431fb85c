// Money, numbers, times and durations in words.

// The words of the page are English, but numbers, money and dates are written as the visitor is used to. Under `LANG=C`
// browsers name a language that does not exist (`en-US@posix`), and `Intl` throws at it.
const LOCALE = (navigator.languages ?? []).filter((tag) => {
  try {
    return Intl.getCanonicalLocales(tag).length > 0;
  } catch {
    return false;
  }
});

// Decimal places by ISO 4217, as in the API. The browser's own figures follow the use of cash (no cents in Belgrade)
// and would be wrong by a factor of a hundred for a dozen currencies.
const DIGITS = new Map();
for (const [digits, codes] of [
  [0, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'],
  [3, 'BHD IQD JOD KWD LYD OMR TND'],
  [4, 'CLF UYW'],
]) {
  for (const code of codes.split(' ')) DIGITS.set(code, digits);
}

export function currencyDigits(currency) {
  return DIGITS.get(currency) ?? 2;
}

const moneyFormats = new Map();
/// Formats `{amount, currency}` for people.
export function money({ amount, currency }) {
  const digits = currencyDigits(currency);
  if (!moneyFormats.has(currency)) {
    moneyFormats.set(currency, new Intl.NumberFormat(LOCALE, {
      style: 'currency', currency, minimumFractionDigits: digits, maximumFractionDigits: digits,
    }));
  }
  return moneyFormats.get(currency).format(amount / 10 ** digits);
}

/// An amount in minor units as people type it: 1999 USD is `19.99`.
export function amountToText(amount, currency) {
  const digits = currencyDigits(currency);
  const text = String(amount).padStart(digits + 1, '0');
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/// The reverse, digit by digit, because money must not go through floating point. `null` if the text is not an amount
/// of this currency.
export function textToAmount(text, currency) {
  const match = /^(\d+)(?:[.,](\d+))?$/.exec(text.trim());
  const digits = currencyDigits(currency);
  const fraction = match?.[2] ?? '';
  if (!match || fraction.length > digits) return null;
  return Number(match[1] + fraction.padEnd(digits, '0'));
}

/// The saving as a whole percentage; `null` if there is none or the currencies differ.
export function discount(price, original) {
  if (!original || original.currency !== price.currency || original.amount <= price.amount) return null;
  // Rounded down: a shop must not promise more than it gives.
  return Math.floor((100 * (original.amount - price.amount)) / original.amount) || null;
}

const percents = new Intl.NumberFormat(LOCALE, { style: 'percent' });
/// A saving of so many percent: `−31%`.
export function saving(percent) {
  return `−${percents.format(percent / 100)}`;
}

const numbers = new Intl.NumberFormat(LOCALE);
export function number(value) {
  return numbers.format(value);
}

const pairs = new Intl.NumberFormat(LOCALE, { minimumIntegerDigits: 2, useGrouping: false });
/// A number of at least two digits, as on a clock.
export function twoDigits(value) {
  return pairs.format(value);
}

/// A count with its unit.
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

const dateTimes = new Intl.DateTimeFormat(LOCALE, { dateStyle: 'medium', timeStyle: 'short' });
const preciseTimes = new Intl.DateTimeFormat(LOCALE, {
  hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23',
});
const clockTimes = new Intl.DateTimeFormat(LOCALE, {
  hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});

/// A date and a time in the visitor's zone. `instant` is anything that `Date` accepts.
export function dateTime(instant) {
  return dateTimes.format(new Date(instant));
}

/// A time with milliseconds, which decide the order of purchases.
export function preciseTime(instant) {
  return preciseTimes.format(new Date(instant));
}

export function clockTime(instant) {
  return clockTimes.format(new Date(instant));
}

/// The visitor's time zone, by name and offset.
export function timeZone(instant = Date.now()) {
  const name = new Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'local time';
  if (name === 'UTC') return name;
  const minutes = -new Date(instant).getTimezoneOffset();
  const two = (value) => String(Math.floor(Math.abs(value))).padStart(2, '0');
  return `${name}, UTC${minutes < 0 ? '−' : '+'}${two(minutes / 60)}:${two(minutes % 60)}`;
}

/// The parts of a countdown. Rounded up, so it shows zero when the time is over and not a second before.
export function countdownParts(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  return {
    days: Math.floor(seconds / 86_400),
    hours: Math.floor(seconds / 3600) % 24,
    minutes: Math.floor(seconds / 60) % 60,
    seconds: seconds % 60,
  };
}

/// A short duration to a tenth of a second, a longer one in words.
export function brief(milliseconds) {
  return milliseconds < 60_000 ? `${number(Math.round(milliseconds / 100) / 10)} s` : inWords(milliseconds);
}

/// A rough duration in words, for screen readers.
export function inWords(milliseconds) {
  const { days, hours, minutes, seconds } = countdownParts(milliseconds);
  if (days > 0) return hours > 0 ? `${count(days, 'day')} ${count(hours, 'hour')}` : count(days, 'day');
  if (hours > 0) return minutes > 0 ? `${count(hours, 'hour')} ${count(minutes, 'minute')}` : count(hours, 'hour');
  if (minutes > 0) return count(minutes, 'minute');
  return count(seconds, 'second');
}
