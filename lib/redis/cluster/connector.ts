import { createConnection } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, type RedisOptions } from 'ioredis';
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

    /** A node that has just become a replica may still be taken for the master. */
    override check(info: { role?: string }): boolean {
      return info.role === undefined || info.role === 'master';
    }

    async connect(): ReturnType<AbstractConnector['connect']> {
      this.connecting = true;
      const { host, port } = await locate();
      if (!this.connecting) {
        throw new Error('The connection was closed while its node was being looked for.');
      }
      const { tls } = this.options;
      this.stream = tls ? connectTls({ host, port, ...tls }) : createConnection({ host, port });
      this.stream.once('error', (error: Error) => {
        this.firstError = error;
      });
      return this.stream;
    }
  } as Connector;
}
