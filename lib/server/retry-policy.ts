import type { Backoff } from '../options.js';
import { MAX_TIMER_MS } from '../util/time.js';

/** By how much jitter shortens an exponential backoff at most: what failed together shall not come back together. */
const JITTER = 0.25;

/**
 * How long an event waits for its next delivery, in whole milliseconds. The jitter is a function of the entry's id, so
 * that every instance computes the same. Throws what a function of the user's throws, and a `RangeError` for a result
 * that is no time.
 * @param deliveries how often it has been delivered
 */
export function backoffDelay(backoff: Backoff, deliveries: number, entryId: string): number {
  if (typeof backoff === 'function') {
    return checked(backoff(deliveries));
  }
  if (backoff.type === 'fixed') {
    return backoff.delay;
  }
  const full = Math.min(backoff.max, backoff.base * 2 ** Math.min(deliveries - 1, 31));
  return Math.round(full * (1 - JITTER * fraction(`${entryId}/${deliveries}`)));
}

function checked(delay: number): number {
  if (!(delay >= 0 && delay <= MAX_TIMER_MS)) {
    throw new RangeError(
      `Option 'retry': the backoff function returned ${String(delay)}, and 0 to ${MAX_TIMER_MS} ms are possible.`,
    );
  }
  return Math.round(delay);
}

/** A number from 0 up to 1 that looks random and is always the same for a text (FNV-1a). */
function fraction(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  // The low bits of texts that differ in their last character only are the more different ones.
  return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32;
}
