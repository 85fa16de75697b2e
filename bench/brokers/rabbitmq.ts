import { freePort } from '../../test/support/redis-server.js';
import { BrokerProcess } from './broker-process.js';
import type { Broker, BrokerUsage } from './broker.js';

/** A rabbitmq-server of its own, without plugins. */
export class RabbitBroker implements Broker {
  private constructor(
    readonly port: number,
    private readonly process: BrokerProcess,
  ) {}

  static async start(): Promise<RabbitBroker> {
    const port = await freePort();
    const process = new BrokerProcess();
    try {
      await process.start({
        binary: 'rabbitmq-server',
        args: [],
        env: {
          RABBITMQ_NODENAME: `bench-${port}@localhost`,
          RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
          RABBITMQ_NODE_PORT: String(port),
          RABBITMQ_DIST_PORT: String(await freePort()),
          RABBITMQ_MNESIA_BASE: process.folder,
          RABBITMQ_LOG_BASE: process.folder,
          RABBITMQ_LOGS: '-',
          RABBITMQ_ENABLED_PLUGINS: '',
          HOME: process.folder,
        },
        readyText: 'completed with',
        readyWithinMs: 60_000,
      });
    } catch (error) {
      await process.stop();
      throw error;
    }
    return new RabbitBroker(port, process);
  }

  usage(): Promise<BrokerUsage> {
    return Promise.resolve({ cpu: this.process.cpu() });
  }

  stop(): Promise<void> {
    return this.process.stop();
  }
}
