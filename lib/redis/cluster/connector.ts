import { createConnection } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, type RedisOptions } from 'ioredis';
import { Backoff, pause } from '../../util/time.js';
import type { NodeAddress } from './topology.js';

type Connector = NonNullable<RedisOptions['Connector']>;

/**
 * What ioredis opens sockets by (its option `Connector`): asks anew, each time it connects, where to. So a connection
 * follows its slot to whichever node has it, as one by Sentinel follows its master.
 */
export function connectorTo(locate: () => Promise<NodeAddress>): Connector {
  return class extends AbstractConnector {
    constructor(private readonly options: RedisOptions) {
      super(options.disconnectTimeout ?? 0);
    }

    private left = new AbortController();

    override disconnect(): void {
      this.left.abort();
      super.disconnect();
    }

    /** A node that has just become a replica may still be taken for the master. */
    override check(info: { role?: string }): boolean {
      return info.role === undefined || info.role === 'master';
    }

    async connect(
      tell: Parameters<AbstractConnector['connect']>[0],
    ): ReturnType<AbstractConnector['connect']> {
      this.connecting = true;
      this.left = new AbortController();
      const { host, port } = await this.locate(tell);
      const { tls } = this.options;
      this.stream = tls ? connectTls({ host, port, ...tls }) : createConnection({ host, port });
      this.stream.once('error', (error: Error) => {
        this.firstError = error;
      });
      return this.stream;
    }

    /** Does not give up before it is disconnected: to ioredis, a connector that fails is at its end. */
    private async locate(tell: Parameters<AbstractConnector['connect']>[0]): Promise<NodeAddress> {
      const backoff = new Backoff();
      while (this.connecting) {
        try {
          const node = await locate();
          if (this.connecting) {
            return node;
          }
        } catch (error) {
          tell('error', error as Error);
          await pause(backoff.next(), this.left.signal);
        }
      }
      throw new Error('The connection was closed while its node was being looked for.');
    }
  } as Connector;
}
