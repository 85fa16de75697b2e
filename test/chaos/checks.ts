import type { EventLife, Ledger, Life } from './ledger.js';
import { ASKED, SERVICES } from './load.js';

/** A fault that was there. Times are milliseconds of the machine's clock. */
export interface Disturbance {
  fault: string;
  /** The member that was hit; missing where it was Redis or everybody. */
  member?: string;
  from: number;
  to: number;
  outage: 'all' | 'target' | 'nobody';
  wipes: boolean;
}

/** What the ledger is held against. */
export interface Circumstances {
  disturbances: readonly Disturbance[];
  /** Processes that were killed: what they were about to write down is not on record. */
  killed: ReadonlySet<string>;
  /** The timeout of requests, in milliseconds. */
  timeout: number;
  /** Milliseconds. */
  lease: number;
  strict: boolean;
}

/** A promise that was broken, and by which messages. */
export interface Violation {
  rule: string;
  /** Where it is of messages, their ids come first. */
  cases: string[];
}

/** A timer may be this late on a machine that is busy. */
const LATE_MS = 2_000;

/** After a wipe the recorder has to subscribe again, and may miss what is trimmed until then. */
const RECORDER_BACK_AFTER_MS = 2_000;

/** Errors that say that nothing was stored. */
const NOT_STORED = new Set(['PUBLISH_REFUSED', 'PUBLISH_TIMEOUT', 'QUEUE_FULL', 'STREAM_FULL']);

/** Holds what became of every message against what was promised. */
export function check(ledger: Ledger, circumstances: Circumstances): Violation[] {
  const judge = new Judge(circumstances);
  const events = [...ledger.events.values()];
  const requests = [...ledger.requests.values()];
  const rules: [string, string[]][] = [
    ['a confirmed event is handled, or a dead letter, in each service', judge.lost(events)],
    ['a confirmed event is stored exactly once, a refused one not at all', judge.wronglyStored(events)],
    ['only what always fails becomes a dead letter', judge.innocentlyDead(events)],
    ['every publish succeeds or fails', judge.unended(events)],
    ['every request gets one answer or one error', judge.unended(requests)],
    ['a publish fails only where an outage overlapped it', judge.failedWithoutReason(events)],
    ['a request fails only where an outage overlapped it', judge.failedWithoutReason(requests)],
    ['nothing takes longer than its timeout', judge.late([...requests, ...events])],
    ['what is answered was handled', judge.answeredByNobody(requests)],
    ['a request is stored once', judge.storedTwice(requests)],
    ['what is handled or dead was sent', ledger.strangers],
    ['nothing is handled twice', judge.twice([...requests, ...events])],
  ];
  return rules.filter(([, cases]) => cases.length > 0).map(([rule, cases]) => ({ rule, cases }));
}

class Judge {
  private readonly wipes: Disturbance[];

  constructor(private readonly circumstances: Circumstances) {
    this.wipes = circumstances.disturbances.filter(({ wipes }) => wipes);
  }

  lost(events: EventLife[]): string[] {
    const demanded = events.filter((event) => isConfirmed(event) && !this.mayBeForgotten(event));
    return demanded.flatMap(({ id, handled, dead }) =>
      SERVICES.filter((service) => !handled.has(service) && !dead.has(service)).map(
        (service) => `${id} in ${service}`,
      ),
    );
  }

  wronglyStored(events: EventLife[]): string[] {
    const lastWipe = Math.max(...this.wipes.map(({ to }) => to));
    const isOnRecord = ({ sentAt }: Life): boolean => sentAt > lastWipe + RECORDER_BACK_AFTER_MS;
    return events
      .filter((event) => {
        const min = isConfirmed(event) && isOnRecord(event) ? 1 : 0;
        const max = event.failure && NOT_STORED.has(event.failure.code) ? 0 : 1;
        return event.stored < min || event.stored > max;
      })
      .map(({ id, stored, failure }) => `${id} ${failure?.code ?? ''}: ${stored} times`);
  }

  innocentlyDead(events: EventLife[]): string[] {
    return events
      .filter(({ isDoomed, dead }) => !isDoomed && dead.size > 0)
      .map(({ id, dead }) => `${id} in ${[...dead].join()}`);
  }

  unended(lives: Life[]): string[] {
    return lives
      .filter(({ endedAt, client }) => endedAt === undefined && !this.circumstances.killed.has(client))
      .map(({ id }) => id);
  }

  failedWithoutReason(lives: Life[]): string[] {
    return lives
      .filter(
        (life) => life.failure && (this.circumstances.strict || !this.hasReason(life, life.failure.code)),
      )
      .map(({ id, failure }) => `${id} ${failure!.code}: ${failure!.message}`);
  }

  late(lives: Life[]): string[] {
    const { timeout } = this.circumstances;
    return lives
      .filter(({ endedAt, sentAt }) => endedAt !== undefined && endedAt - sentAt > timeout + LATE_MS)
      .filter((life) => !this.overlapping(life).some(({ member }) => member && isOf(life, member)))
      .map(({ id, sentAt, endedAt }) => `${id}: ${endedAt! - sentAt} ms`);
  }

  answeredByNobody(requests: Life[]): string[] {
    return requests.filter((life) => isConfirmed(life) && !life.handled.has(ASKED)).map(({ id }) => id);
  }

  storedTwice(requests: Life[]): string[] {
    return requests
      .filter(({ entries }) => entries.size > 1)
      .map(({ id, entries }) => `${id}: ${[...entries].join()}`);
  }

  twice(lives: Life[]): string[] {
    return this.circumstances.strict
      ? lives.filter(({ handled }) => [...handled.values()].some((count) => count > 1)).map(({ id }) => id)
      : [];
  }

  /** Whether Redis lost it before it can be expected to have been handled; a dead letter is lost whenever. */
  private mayBeForgotten({ sentAt, isDoomed }: EventLife): boolean {
    const { lease } = this.circumstances;
    return this.wipes.some(({ from, to }) => sentAt <= to && (isDoomed || sentAt + 3 * lease > from));
  }

  private hasReason(life: Life, code: string): boolean {
    const overlapping = this.overlapping(life);
    // A stream of values does not survive a takeover, and the caller is told.
    return code === 'STREAM_INTERRUPTED'
      ? overlapping.length > 0
      : overlapping.some(
          ({ outage, member }) => outage === 'all' || (outage === 'target' && isOf(life, member!)),
        );
  }

  /** A takeover follows its cause by up to a lease and two sweeps. */
  private overlapping({ sentAt, endedAt }: Life): Disturbance[] {
    const { disturbances, lease } = this.circumstances;
    return disturbances.filter(({ from, to }) => from <= (endedAt ?? Infinity) && to + 2 * lease >= sentAt);
  }
}

function isConfirmed({ endedAt, failure }: Life): boolean {
  return endedAt !== undefined && failure === undefined;
}

/** Whether a process of this member has sent it. */
function isOf({ client }: Life, member: string): boolean {
  return client.startsWith(`${member}.`);
}
