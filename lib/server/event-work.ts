import { DeserializationError } from '../errors.js';
import type { EventExecution } from './event-execution.js';
import { eventOutcome, type EventOutcome, type FailedHandler } from './event-outcome.js';
import { originalErrorOf } from './exception-filter.js';
import type { Delivery } from './delivery.js';
import type { EventHandler } from './handlers.js';
import type { Pipeline } from './pipeline.js';
import type { Reporter } from './reporter.js';

/** Runs an event's handlers in Nest's pipeline; resolves to those that failed. Never rejects. */
export async function performEvent(
  pipeline: Pipeline,
  execution: EventExecution,
  handlers: readonly EventHandler[],
): Promise<readonly FailedHandler[]> {
  let failures: readonly FailedHandler[] = [];
  try {
    await pipeline.run(
      execution,
      async (data, context) => {
        failures = await execution.perform(handlers, data, context);
      },
      execution.firstVerdict,
    );
    return failures;
  } catch (error) {
    // Of decoding, or of a hook: no handler has succeeded.
    const places = execution.delivery.retry?.handlers ?? handlers.keys();
    return [...places].map((handler) => ({ handler, error }));
  }
}

/** What is to become of an event whose handlers have ended. */
export function outcomeOf(
  delivery: Delivery,
  handlers: readonly EventHandler[],
  failures: readonly FailedHandler[],
): EventOutcome {
  const [first] = failures;
  if (first && first.error instanceof DeserializationError) {
    return { kind: 'dead', reason: 'malformed', error: first.error };
  }
  try {
    return eventOutcome(delivery, failures, (place) => handlers[place]!.retry);
  } catch (error) {
    // A backoff function of the user's that throws must not lose the event.
    return { kind: 'dead', reason: 'failed', error };
  }
}

/** Tells the hooks that an event's handlers have ended. */
export function reportHandled(
  { hooks, about }: Reporter,
  execution: EventExecution,
  [failure]: readonly FailedHandler[],
): void {
  if (hooks.listens('handled')) {
    hooks.report('handled', {
      ...about(execution.delivery),
      outcome: execution.isAborted ? 'aborted' : failure ? 'failed' : 'succeeded',
      duration: performance.now() - execution.startedAt,
      ...(failure ? { error: originalErrorOf(failure.error) } : {}),
    });
  }
}
