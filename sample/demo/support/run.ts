import { setTimeout as pause } from 'node:timers/promises';
import { environmentFor, type RedisSettings } from '../../support/settings.js';
import { abortable } from './abortable.js';
import { Ledger } from './ledger.js';
import { sendOrders } from './load.js';
import { showProgress, type Progress } from './progress.js';
import { Service } from './service.js';

/** It takes a few seconds; what takes longer than this has gone wrong. */
const RUN_WITHIN_MS = 60_000;
/** From the last answer on. What is missing then is missing in the summary. */
const REST_WITHIN_MS = 10_000;

/**
 * The services of a run and its requests. Halfway through, an instance of `orders` is killed. It ends early when a
 * service dies without that, the user says so, or the time is up.
 */
export class Run {
  readonly ledger: Ledger;
  private readonly failure = new AbortController();
  private readonly signal: AbortSignal;
  private readonly services = new Set<Service>();
  private victim: Service | undefined;
  private onVictimBegun: ((victim: Service) => void) | undefined;
  private endedWell = false;

  constructor(
    private readonly redis: RedisSettings,
    requests: number,
    interruption: AbortSignal,
  ) {
    this.ledger = new Ledger(requests);
    this.signal = AbortSignal.any([interruption, this.failure.signal]);
    const late = new Error(`The demo did not end within ${RUN_WITHIN_MS / 1_000} s`);
    setTimeout(() => this.failure.abort(late), RUN_WITHIN_MS).unref();
  }

  /** Starts all services; resolves with the URL of the gateway. */
  async start(): Promise<string | undefined> {
    this.signal.throwIfAborted();
    const gateway = this.add('gateway', 'gateway');
    this.add('orders 1', 'orders');
    this.victim = this.add('orders 2', 'orders');
    this.add('notifications', 'notifications');
    const services = [...this.services];
    console.log(`Starting ${services.join(', ')}`);
    await abortable(Promise.all(services.map(({ ready }) => ready)), this.signal);
    return gateway.ready;
  }

  /** Sends all requests, and waits for their events. */
  async send(url: string | undefined, parallel: number): Promise<void> {
    const progress = showProgress(this.ledger);
    try {
      const sending = sendOrders(`${url}/orders`, this.ledger, parallel, this.signal);
      await Promise.all([sending, this.killHalfway(sending, progress)]);
      const late = pause(REST_WITHIN_MS, undefined, { ref: false });
      await Promise.race([abortable(this.ledger.complete, this.signal), late]);
    } finally {
      progress.end();
    }
  }

  /** Ends all services. */
  async stop(): Promise<void> {
    const ends = await Promise.all([...this.services].map((service) => service.stop()));
    this.endedWell = ends.every((inGoodOrder) => inGoodOrder);
    if (!this.endedWell && !this.signal.aborted) {
      console.error('A service did not end in good order.');
    }
  }

  /** Whether all went as `Ledger.isRight` has it, and each service that was not killed ended in good order. */
  get isRight(): boolean {
    return this.endedWell && this.ledger.isRight;
  }

  private async killHalfway(sending: Promise<void>, progress: Progress): Promise<void> {
    await Promise.race([this.ledger.halfway, sending]);
    // However fast it is: it is to have something under way.
    const begun = new Promise<Service>((resolve) => (this.onVictimBegun = resolve));
    const victim = await Promise.race([begun, sending]);
    if (victim) {
      progress.say(`Killing ${victim.toString()} with SIGKILL`);
      this.services.delete(victim);
      this.ledger.onKill(victim.toString());
      await victim.kill();
    }
  }

  private add(name: string, folder: string): Service {
    const service: Service = new Service({
      name,
      folder,
      env: environmentFor(this.redis),
      onReport: (report) => {
        this.ledger.onReport(report);
        if (report.kind === 'begun' && service === this.victim) {
          this.onVictimBegun?.(service);
        }
      },
      onUnexpectedEnd: (error) => this.failure.abort(error),
    });
    this.services.add(service);
    return service;
  }
}
