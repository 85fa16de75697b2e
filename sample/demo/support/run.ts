import { setTimeout as pause } from 'node:timers/promises';
import { environmentFor, type RedisSettings } from '../../support/settings.js';
import { abortable } from './abortable.js';
import { Ledger } from './ledger.js';
import { sendOrders } from './load.js';
import { showProgress } from './progress.js';
import { Service } from './service.js';

/** It takes a few seconds; what takes longer than this has gone wrong. */
const RUN_WITHIN_MS = 60_000;
/** From the last answer on. What is missing then is missing in the summary. */
const EVENTS_WITHIN_MS = 10_000;

/** The services of a run and its requests. It ends early when a service dies, the user says so, or the time is up. */
export class Run {
  readonly ledger: Ledger;
  private readonly failure = new AbortController();
  private readonly signal: AbortSignal;
  private readonly services: Service[] = [];
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
    this.add('orders 1', 'orders', this.ledger.onPublished);
    this.add('orders 2', 'orders', this.ledger.onPublished);
    this.add('notifications', 'notifications', this.ledger.onHandled);
    console.log(`Starting ${this.services.join(', ')}`);
    await abortable(Promise.all(this.services.map(({ ready }) => ready)), this.signal);
    return gateway.ready;
  }

  /** Sends all requests, and waits for their events. */
  async send(url: string | undefined, parallel: number): Promise<void> {
    const endProgress = showProgress(this.ledger);
    try {
      await sendOrders(`${url}/orders`, this.ledger, parallel, this.signal);
      const late = pause(EVENTS_WITHIN_MS, undefined, { ref: false });
      await Promise.race([abortable(this.ledger.complete, this.signal), late]);
    } finally {
      endProgress();
    }
  }

  /** Ends all services. */
  async stop(): Promise<void> {
    const ends = await Promise.all(this.services.map((service) => service.stop()));
    this.endedWell = ends.every((inGoodOrder) => inGoodOrder);
    if (!this.endedWell && !this.signal.aborted) {
      console.error('A service did not end in good order.');
    }
  }

  /** Whether each request was answered rightly, each event handled, and each service ended in good order. */
  get isRight(): boolean {
    return this.endedWell && this.ledger.isRight;
  }

  private add(name: string, folder: string, onOrders?: (ids: string[]) => void): Service {
    const service = new Service({
      name,
      folder,
      env: environmentFor(this.redis),
      onOrders,
      onUnexpectedEnd: (error) => this.failure.abort(error),
    });
    this.services.push(service);
    return service;
  }
}
