import { Redis, type ClusterOptions } from 'ioredis';
import { keySlot } from '../../lib/redis/cluster/key-slot.js';
import { parseSlots, type SlotRange } from '../../lib/redis/replies.js';
import { freeClusterPort, RedisServer } from './redis-server.js';
import { eventually } from './wait.js';

const SLOTS = 16_384;

/** Joining, and the first replication, take gossip a while. */
const FORMED_WITHIN_MS = 30_000;

/** How soon nodes give up one that is silent: a replica is elected within about twice that. */
const NODE_TIMEOUT_MS = 1_500;

/** What a cluster is made of. */
export interface ClusterPlan {
  masters?: number;
  /** Of each master. */
  replicas?: number;
  /** For each redis-server. */
  args?: readonly string[];
}

/** A cluster of our own, of processes on loopback: masters, and replicas of each. */
export class RedisCluster {
  private readonly looks = new Map<number, Redis>();
  /** Ports by which nodes are reached through a proxy -> their own. */
  private readonly announced = new Map<number, number>();
  private isStopped = false;

  private constructor(readonly nodes: RedisServer[]) {}

  /** Starts one; resolves when every slot is served, and every replica follows its master. */
  static start(plan: ClusterPlan = {}): Promise<RedisCluster> {
    return RedisCluster.startUnless(new AbortController().signal, plan);
  }

  /** The same; rejects as soon as the signal aborts, when all that was started is gone again. */
  static async startUnless(
    signal: AbortSignal,
    { masters = 3, replicas = 1, args = [] }: ClusterPlan,
  ): Promise<RedisCluster> {
    const cluster = new RedisCluster([]);
    // Whatever is being waited for fails then.
    const onAbort = (): void => cluster.leave();
    signal.addEventListener('abort', onAbort);
    try {
      for (let i = 0; i < masters * (1 + replicas); i++) {
        signal.throwIfAborted();
        cluster.nodes.push(
          await RedisServer.startOn(
            await freeClusterPort(),
            '--cluster-enabled',
            'yes',
            '--cluster-node-timeout',
            String(NODE_TIMEOUT_MS),
            '--repl-diskless-sync-delay',
            '0',
            ...args,
          ),
        );
      }
      signal.throwIfAborted();
      await cluster.form(masters);
      signal.throwIfAborted();
    } catch (error) {
      await cluster.stop();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    return cluster;
  }

  /** For the option `connection`. */
  get connection(): { cluster: { nodes: string[]; options: Pick<ClusterOptions, 'natMap'> } } {
    const natMap = (name: string): { host: string; port: number } => {
      const [host, port] = name.split(':') as [string, string];
      return { host, port: this.ownPort(Number(port)) };
    };
    return { cluster: { nodes: this.nodes.map(({ url }) => url), options: { natMap } } };
  }

  /** A plain connection to one node. */
  look(node: RedisServer): Redis {
    if (this.isStopped) {
      throw new Error('This cluster was stopped');
    }
    let look = this.looks.get(node.port);
    if (!look) {
      look = new Redis(node.url, { connectionName: 'inspector', disconnectTimeout: 100 });
      // A node that was killed is no failure of a test.
      look.on('error', () => undefined);
      this.looks.set(node.port, look);
    }
    return look;
  }

  /** The master of a key, as some living node sees it. */
  async masterOf(key: string): Promise<RedisServer> {
    return this.serverOf(key, 0);
  }

  /** The replica of a key's master, likewise. */
  async replicaOf(key: string): Promise<RedisServer> {
    return this.serverOf(key, 1);
  }

  /** A connection to the master of a key. */
  async at(key: string): Promise<Redis> {
    return this.look(await this.masterOf(key));
  }

  /** Empties all masters. */
  async flush(): Promise<void> {
    for (const node of await this.masters()) {
      await this.look(node).flushall();
    }
  }

  /** The nodes that are masters, as some living node sees it. */
  async masters(): Promise<RedisServer[]> {
    const ports = new Set((await this.slots()).map(({ nodes }) => nodes[0]?.port));
    return this.nodes.filter(({ port }) => ports.has(port));
  }

  /** Waits until every slot is served and every living node knows. */
  async settled(): Promise<void> {
    for (const node of this.nodes.filter(({ isRunning }) => isRunning)) {
      const isOk = async (): Promise<boolean> =>
        String(await this.look(node).cluster('INFO')).includes('cluster_state:ok');
      await eventually(isOk, `node ${node.port} to see the whole cluster`, FORMED_WITHIN_MS);
    }
  }

  /** Waits until all replicas follow their masters. */
  async replicated(): Promise<void> {
    for (const node of await this.masters()) {
      const hasReplica = async (): Promise<boolean> =>
        /slave0:.*state=online/.test(await this.look(node).info('replication'));
      await eventually(hasReplica, `the replica of ${node.port}`, FORMED_WITHIN_MS);
    }
    // Others learn of it later.
    const isKnown = async (): Promise<boolean> => (await this.slots()).every(({ nodes }) => nodes.length > 1);
    await eventually(isKnown, 'the replicas to be known', FORMED_WITHIN_MS);
  }

  /**
   * Moves a slot with all its keys to another master, as `redis-cli --cluster reshard` does.
   * @param between is called when some keys have been moved and others not
   */
  async migrate(
    key: string,
    to: RedisServer,
    between: () => Promise<void> = () => Promise.resolve(),
  ): Promise<void> {
    const slot = keySlot(key);
    const from = await this.masterOf(key);
    const [source, target] = [this.look(from), this.look(to)];
    const [sourceId, targetId] = [String(await source.cluster('MYID')), String(await target.cluster('MYID'))];
    await target.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
    await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
    let hasPaused = false;
    for (;;) {
      const keys = await source.cluster('GETKEYSINSLOT', slot, 1);
      if (keys.length === 0) {
        break;
      }
      await source.migrate('127.0.0.1', to.port, '', 0, 5_000, 'KEYS', ...keys);
      if (!hasPaused) {
        hasPaused = true;
        await between();
      }
    }
    for (const node of await this.masters()) {
      await this.look(node).cluster('SETSLOT', slot, 'NODE', targetId);
    }
  }

  /**
   * Has a master tell another port, which leads to it: its replica goes there, and clients go on past it (`natMap`). It
   * is so until the node is started again. Resolves when the replica follows its master there.
   */
  async announce(master: RedisServer, port: number): Promise<void> {
    this.announced.set(port, master.port);
    await this.look(master).config('SET', 'cluster-announce-port', String(port));
    const follows = async (): Promise<boolean> => {
      const replicas = await Promise.all(
        this.nodes.filter(({ isRunning }) => isRunning).map((node) => this.look(node).info('replication')),
      );
      return replicas.some(
        (info) => info.includes(`master_port:${port}\r`) && info.includes('master_link_status:up'),
      );
    };
    await eventually(follows, `the replica of ${master.port} to follow it by port ${port}`, FORMED_WITHIN_MS);
  }

  async stop(): Promise<void> {
    this.leave();
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  private leave(): void {
    this.isStopped = true;
    for (const look of this.looks.values()) {
      look.disconnect();
    }
  }

  private async slots(): Promise<SlotRange[]> {
    const asked = this.nodes.find(({ isRunning }) => isRunning)!;
    return parseSlots(await this.look(asked).cluster('SLOTS'), '127.0.0.1').map((range) => ({
      ...range,
      nodes: range.nodes.map(({ host, port }) => ({ host, port: this.ownPort(port) })),
    }));
  }

  private ownPort(port: number): number {
    return this.announced.get(port) ?? port;
  }

  private async serverOf(key: string, place: number): Promise<RedisServer> {
    const slot = keySlot(key);
    const range = (await this.slots()).find(({ first, last }) => first <= slot && slot <= last);
    const node = this.nodes.find(({ port }) => port === range?.nodes[place]?.port);
    if (!node) {
      throw new Error(`Nobody serves the slot of '${key}'`);
    }
    return node;
  }

  private async form(masters: number): Promise<void> {
    const [first] = this.nodes as [RedisServer];
    for (const [i, node] of this.nodes.entries()) {
      const look = this.look(node);
      await look.cluster('SET-CONFIG-EPOCH', i + 1);
      if (node !== first) {
        await look.cluster('MEET', '127.0.0.1', first.port);
      }
      if (i < masters) {
        const from = Math.floor((i * SLOTS) / masters);
        const to = Math.floor(((i + 1) * SLOTS) / masters);
        await look.cluster('ADDSLOTS', ...Array.from({ length: to - from }, (_, n) => from + n));
      }
    }
    for (const node of this.nodes) {
      const knowsAll = async (): Promise<boolean> => {
        const lines = String(await this.look(node).cluster('NODES'))
          .trim()
          .split('\n');
        return lines.length === this.nodes.length && !lines.some((line) => /handshake|noaddr/.test(line));
      };
      await eventually(knowsAll, `node ${node.port} to know all others`, FORMED_WITHIN_MS);
    }
    for (let i = masters; i < this.nodes.length; i++) {
      const master = this.look(this.nodes[i % masters]!);
      await this.look(this.nodes[i]!).cluster('REPLICATE', String(await master.cluster('MYID')));
    }
    await this.settled();
    if (this.nodes.length > masters) {
      await this.replicated();
    }
  }
}
