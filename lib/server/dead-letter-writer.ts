import { formatDeadLetterId } from '../protocol/dead-letter-id.js';
import { describeFailure, encodeDeadLetterMeta, type DeadLetterReason } from '../protocol/dead-letter.js';
import type { Shard } from '../redis/shard.js';
import { commandFailure, messageOf } from '../redis/redis-errors.js';
import { deadLetter } from '../redis/scripts/dead-letter.js';
import type { DeadLetterOptions } from '../options.js';
import { Backoff, pause } from '../util/time.js';
import { consumerOf, type Delivery } from './delivery.js';
import type { Holdings } from './holdings.js';
import type { RightToSettle } from './lease.js';
import type { Reporter } from './reporter.js';

/**
 * Moves messages to the dead letters: in one script that checks whose they are. What Redis does not confirm is tried
 * again until it does; meanwhile the message keeps its slot, so that what cannot be put away stays bounded.
 */
export class DeadLetterWriter {
  private readonly closing = new AbortController();

  constructor(
    private readonly shard: Shard,
    private readonly options: Required<DeadLetterOptions>,
    private readonly holdings: Holdings<Delivery>,
    private readonly right: RightToSettle,
    private readonly reporter: Reporter,
    /** Is told of each stream an entry of which has become a dead letter. */
    private readonly settled: (stream: string) => void,
  ) {}

  /**
   * Resolves when the message is a dead letter, or is not this instance's any more.
   * @param error what it failed with
   */
  async add(delivery: Delivery, reason: DeadLetterReason, error: unknown): Promise<void> {
    const backoff = new Backoff();
    const { signal } = this.closing;
    while (!delivery.isLost && !signal.aborted) {
      if (this.right.isHeld) {
        try {
          await this.move(delivery, reason, error);
          return;
        } catch (cause) {
          if (commandFailure(cause) === 'refused') {
            this.reporter.warnings.report(
              'Dead letters',
              `Redis refused to store a dead letter ('${delivery.entry.pattern}'): ${messageOf(cause)}; trying again`,
            );
          }
        }
      } else {
        this.right.restore();
      }
      await pause(backoff.next(), signal);
    }
  }

  /** Gives up what is not stored: it stays pending. */
  close(): void {
    this.closing.abort();
  }

  private async move(delivery: Delivery, reason: DeadLetterReason, error: unknown): Promise<void> {
    const { commands, keys } = this.shard;
    const { instance } = this.reporter;
    const { stream, id, deliveries, isInbox } = delivery;
    const { stack, maxLength } = this.options;
    const failure = describeFailure(error, stack);
    const outcome = await deadLetter(commands.client, {
      stream,
      dead: keys.dead(instance.service),
      group: instance.service,
      owner: consumerOf(delivery, instance.id),
      id,
      remove: isInbox,
      maxLength,
      meta: encodeDeadLetterMeta({
        stream,
        entryId: id,
        reason,
        deliveries,
        instance: instance.id,
        ...failure,
      }),
    });
    this.holdings.release(delivery);
    this.settled(stream);
    if (outcome.outcome === 'missing') {
      this.reportMissing(delivery);
    } else if (outcome.outcome === 'moved') {
      this.reportMoved(delivery, outcome, reason, error, failure.errorMessage);
    }
  }

  private reportMissing({ stream }: Delivery): void {
    this.reporter.hooks.report('entriesLost', { stream, count: 1, reason: 'deleted' });
    this.reporter.warnings.report(
      'Deleted entries',
      `An entry of '${stream}' failed, and cannot become a dead letter: somebody has deleted it meanwhile`,
    );
  }

  private reportMoved(
    delivery: Delivery,
    { id: entry, dropped }: { id: string; dropped: number },
    reason: DeadLetterReason,
    error: unknown,
    message: string,
  ): void {
    const { hooks, instance, errors, warnings } = this.reporter;
    const { index, count } = this.shard;
    const id = formatDeadLetterId({ entry, shard: index }, count);
    if (hooks.listens('deadLettered')) {
      hooks.report('deadLettered', { ...this.reporter.about(delivery), deadLetterId: id, reason, error });
    }
    errors.report(
      'Dead letters',
      `${delivery.fault ? 'A malformed message' : `'${delivery.entry.pattern}'`} (entry ${delivery.id} of '${delivery.stream}') is dead letter ${id} after ` +
        `${delivery.deliveries} ${delivery.deliveries === 1 ? 'delivery' : 'deliveries'} (${reason}): ${message}`,
    );
    if (dropped > 0) {
      hooks.report('deadLettersDropped', { service: instance.service, count: dropped });
      warnings.report(
        'Dropped dead letters',
        `${dropped} of the oldest dead letters were dropped: there are more than deadLetters.maxLength (${this.options.maxLength})`,
      );
    }
  }
}
