import type { RetryOptions } from '../options.js';
import type { DeadLetterReason } from '../protocol/dead-letter.js';
import type { Delivery, EventRetry } from './delivery.js';
import { originalErrorOf } from './exception-filter.js';
import { isDeadLetter, isRetryLater } from './outcomes.js';
import { backoffDelay } from './retry-policy.js';

/** An event handler that failed. */
export interface FailedHandler {
  /** Its place in the list of the pattern's handlers. */
  handler: number;
  error: unknown;
}

/** What is to become of an event whose handlers have ended. */
export type EventOutcome =
  | { kind: 'succeeded' }
  | { kind: 'retry'; delay: number; error: unknown; retry: EventRetry }
  | { kind: 'dead'; reason: DeadLetterReason; error: unknown };

/**
 * What is to become of an event. Each handler has deliveries of its own: one that has used them up is not run again,
 * while others may be; the event is a dead letter in the end.
 * @param policyOf the retries of a handler, by its place
 */
export function eventOutcome(
  { id, deliveries, retry }: Pick<Delivery, 'id' | 'deliveries' | 'retry'>,
  failures: readonly FailedHandler[],
  policyOf: (handler: number) => Required<RetryOptions>,
): EventOutcome {
  const rejected = failures.find(({ error }) => isDeadLetter(error));
  if (rejected) {
    return { kind: 'dead', reason: 'rejected', error: originalErrorOf(rejected.error) };
  }
  let exhausted = retry?.exhausted;
  const again: FailedHandler[] = [];
  for (const failure of failures) {
    if (deliveries < policyOf(failure.handler).maxDeliveries) {
      again.push(failure);
    } else {
      exhausted ??= failure;
    }
  }
  if (again.length > 0) {
    const delays = again.map(({ handler, error }) =>
      isRetryLater(error) ? error.delay : backoffDelay(policyOf(handler).backoff, deliveries, id),
    );
    return {
      kind: 'retry',
      // They are delivered together, and none earlier than it may be.
      delay: Math.max(...delays),
      error: originalErrorOf(again[0]!.error),
      retry: { handlers: again.map(({ handler }) => handler), exhausted },
    };
  }
  return exhausted
    ? { kind: 'dead', reason: 'failed', error: originalErrorOf(exhausted.error) }
    : { kind: 'succeeded' };
}
