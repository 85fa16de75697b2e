import { freePort } from '../../test/support/redis-server.js';
import { BrokerProcess } from './broker-process.js';
import type { Broker, BrokerUsage } from './broker.js';

/** A nats-server of its own, with JetStream. */
export class NatsBroker implements Broker {
  private constructor(
    readonly port: number,
    private readonly process: BrokerProcess,
  ) {}

  static async start(): Promise<NatsBroker> {
    const port = await freePort();
    const process = new BrokerProcess();
    try {
      await process.start({
        binary: 'nats-server',
        args: ['--addr', '127.0.0.1', '--port', String(port), '--jetstream', '--store_dir', process.folder],
        readyText: 'Server is ready',
        readyWithinMs: 10_000,
      });
    } catch (error) {
      await process.stop();
      throw error;
    }
    return new NatsBroker(port, process);
  }

  usage(): Promise<BrokerUsage> {
    return Promise.resolve({ cpu: this.process.cpu() });
  }

  stop(): Promise<void> {
    return this.process.stop();
  }
}
