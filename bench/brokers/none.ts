import { freePort } from '../../test/support/redis-server.js';
import type { Broker, BrokerUsage } from './broker.js';

/** For systems whose client speaks to the server: a port, and nothing that could cost anything. */
export class NoBroker implements Broker {
  private constructor(readonly port: number) {}

  static async start(): Promise<NoBroker> {
    return new NoBroker(await freePort());
  }

  usage(): Promise<BrokerUsage> {
    return Promise.resolve({ cpu: 0 });
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}
