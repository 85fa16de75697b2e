import { ALONE, ORPHANS_ALONE, SUSPECTS } from '../redis/consumers.js';
import type { Shard } from '../redis/shard.js';
import { whereGroupIs } from '../redis/redis-errors.js';
import { parseEntries, parsePending } from '../redis/replies.js';
import { settledWithin } from '../util/time.js';
import type { Claims } from './claims.js';
import { openDelivery, type Delivery } from './delivery.js';
import type { Dispatcher } from './dispatcher.js';
import type { Reporter } from './reporter.js';

/** After so many vain attempts to be alone the pauses between them grow no more. */
const MAX_PATIENCE = 4;

/** What running entries alone needs. */
export interface LoneRunnerDeps {
  reporter: Reporter;
  /** Milliseconds of a lease. */
  ttl: number;
  /** Stops starting and reading anything; resolves to whether all that was taken is settled within the time. */
  quiesce: (withinMs: number) => Promise<boolean>;
  /** Ends that. */
  resume: () => void;
  /** One that ran for long has ended: there may be more. */
  onFree: () => void;
}

/** The shard whose entries are run, and what runs them there. */
export interface LoneRunnerSide {
  shard: Shard;
  claims: Claims;
  dispatcher: Dispatcher;
}

/** An entry that is to run alone. */
interface Candidate {
  id: string;
  /** The consumer to which it belongs. */
  from: string;
  /** It has killed as many instances as it may: it becomes a dead letter, and is not run. */
  isExhausted: boolean;
}

/**
 * Runs entries alone that may have killed the instances which handled them: after everything else that this instance
 * has taken, of all shards, one after the other. Should one kill it, it is known which one it was.
 */
export class LoneRunner {
  private readonly closing = new AbortController();
  private last: Promise<void> = Promise.resolve();
  /** Runs alone for longer than a lease: other messages run beside it by now. */
  private lasting: Promise<void> | undefined;
  private notBefore = 0;
  private patience = 0;

  constructor(private readonly deps: LoneRunnerDeps) {}

  /** Runs those of a stream, for up to a lease; then what is read has its turn again. */
  runSome(stream: string, side: LoneRunnerSide): Promise<void> {
    const turn = this.last.then(() => this.runSomeNow(stream, side));
    // Whoever asked is told of a failure; the next one has its turn all the same.
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async runSomeNow(stream: string, side: LoneRunnerSide): Promise<void> {
    if (this.lasting || performance.now() < this.notBefore) {
      return;
    }
    const until = performance.now() + this.deps.ttl;
    let isQuiet = false;
    try {
      let next = await this.candidate(stream, side);
      while (next && !this.closing.signal.aborted) {
        if (!next.isExhausted) {
          isQuiet ||= await this.becomeQuiet();
          if (!isQuiet || this.closing.signal.aborted) {
            return;
          }
        }
        if (!(await this.runOne(stream, next, side))) {
          return;
        }
        next = performance.now() < until ? await this.candidate(stream, side) : undefined;
      }
    } finally {
      this.deps.resume();
    }
  }

  /** Begins nothing more; resolves when what runs alone has ended. */
  async close(): Promise<void> {
    this.closing.abort();
    await this.lasting;
  }

  /** Looked at before it is taken: until then it belongs to nobody who could die with it. */
  private async candidate(
    stream: string,
    { shard, dispatcher }: LoneRunnerSide,
  ): Promise<Candidate | undefined> {
    const { client } = shard.commands;
    const { service } = this.deps.reporter.instance;
    for (const from of [SUSPECTS, ORPHANS_ALONE]) {
      const [pending] = parsePending(
        await whereGroupIs(() => client.xpending(stream, service, '-', '+', 1, from)),
      );
      if (pending) {
        const { id, deliveries } = pending;
        const [entry] = parseEntries(await client.xrangeBuffer(stream, id, id));
        const isInbox = dispatcher.isInbox(stream);
        const delivery =
          entry?.fields &&
          openDelivery(stream, id, entry.fields, isInbox, { deliveries, isSuspect: from === SUSPECTS });
        return { id, from, isExhausted: delivery ? dispatcher.isExhausted(delivery) : true };
      }
    }
    return undefined;
  }

  /** Whoever could not tries again later, and later each time; others may be able to. */
  private async becomeQuiet(): Promise<boolean> {
    const { quiesce, ttl } = this.deps;
    if (await quiesce(ttl)) {
      this.patience = 0;
      return true;
    }
    this.patience = Math.min(MAX_PATIENCE, this.patience + 1);
    this.notBefore = performance.now() + ttl * 2 ** this.patience * (0.5 + Math.random());
    return false;
  }

  /** @returns whether it has ended. One that lasts does not keep its instance from serving. */
  private async runOne(stream: string, candidate: Candidate, side: LoneRunnerSide): Promise<boolean> {
    const delivery = await this.claim(stream, candidate, side);
    if (!delivery) {
      return true;
    }
    const running = side.dispatcher.run(delivery);
    if (await settledWithin(running, this.deps.ttl)) {
      return true;
    }
    this.lasting = running.finally(() => {
      this.lasting = undefined;
      this.deps.onFree();
    });
    return false;
  }

  /** @returns `undefined` where another was quicker, or it has been deleted */
  private claim(
    stream: string,
    { id, from }: Candidate,
    { claims, dispatcher }: LoneRunnerSide,
  ): Promise<Delivery | undefined> {
    const { reporter } = this.deps;
    return claims.inTurn(async () => {
      const [claim] = await claims.claim({ stream, from, to: reporter.instance.id + ALONE, which: [id] });
      return (
        claim?.entry &&
        dispatcher.open(stream, claim.entry, {
          deliveries: claim.pending.deliveries,
          isTakenOver: true,
          isAlone: true,
          isSuspect: from === SUSPECTS,
        })
      );
    });
  }
}
