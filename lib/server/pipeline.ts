import type { Shard } from '../redis/shard.js';
import { isPromise } from '../util/promise.js';
import { RedisStreamsContext, type Instance } from './context.js';
import type { Execution } from './execution.js';
import type { PayloadDecoder } from './payload-decoder.js';
import type { Verdict } from './verdict.js';

/** Runs `work` inside Nest's processing hooks; resolves when it has ended. */
export type WithHooks = (context: RedisStreamsContext, work: () => Promise<void>) => Promise<void>;

/** What is done with a message once it is decoded. */
export type Work = (data: unknown, context: RedisStreamsContext) => Promise<void>;

/** What every message goes through before its handler: decoding, its context, Nest's hooks. */
export class Pipeline {
  constructor(
    readonly decoder: PayloadDecoder,
    private readonly shard: Shard,
    private readonly instance: Instance,
    /** What runs a message's work inside Nest's processing hooks; `undefined` where there are none. */
    private readonly hooks: () => WithHooks | undefined,
  ) {}

  /**
   * Decodes, makes the context, and runs `work` inside Nest's hooks. Rejects with whatever fails. Not an async function,
   * nor are those it calls: each would cost every message a promise or two.
   * @param verdict what a handler says of an event by its context
   */
  run(execution: Execution, work: Work, verdict?: Verdict): Promise<void> {
    try {
      const data = this.decoder.decode(execution.delivery.entry);
      return isPromise(data)
        ? data.then((decoded) => this.call(execution, decoded, work, verdict))
        : this.call(execution, data, work, verdict);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  private call(execution: Execution, data: unknown, work: Work, verdict: Verdict | undefined): Promise<void> {
    const { clock } = this.shard;
    const context = new RedisStreamsContext(execution.delivery, this.instance, clock, execution, verdict);
    const withHooks = this.hooks();
    return withHooks ? withHooks(context, () => work(data, context)) : work(data, context);
  }
}
