import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

/** Which way bytes go. */
export type Direction = 'to-redis' | 'to-client';

interface Cut {
  direction: Direction;
  after: number;
}

interface Link {
  client: Socket;
  redis: Socket;
  passed: Record<Direction, number>;
  isFrozen: boolean;
  isCut: boolean;
}

/** A TCP proxy on loopback, in front of a Redis: whoever connects through it can be cut off, frozen or kept out. */
export class Proxy {
  private readonly links = new Set<Link>();
  private readonly sockets = new Set<Socket>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private nextCut: Cut | undefined;
  private isRefusing = false;
  private isParted = false;
  private delayMs = 0;
  private heldDirection: Direction | undefined;
  private held: (() => void)[] = [];
  private accepted = 0;

  private constructor(
    private readonly server: Server,
    private readonly target: number,
  ) {}

  /** Starts a proxy on a free port. */
  static async start(targetPort: number): Promise<Proxy> {
    const server = createServer({ noDelay: true }).listen(0, '127.0.0.1');
    const proxy = new Proxy(server, targetPort);
    server.on('connection', (socket) => proxy.accept(socket));
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** How many connections are open now. */
  get open(): number {
    return this.links.size;
  }

  /** How many connections there have been, refused ones included. */
  get connections(): number {
    return this.accepted;
  }

  /** The bytes that the oldest open connection has passed on. */
  passed(direction: Direction): number {
    const [link] = this.links;
    return link?.passed[direction] ?? 0;
  }

  /** Breaks all connections off now. */
  cut(): void {
    for (const link of [...this.links]) {
      link.isCut = true;
      link.client.destroy();
      link.redis.destroy();
    }
  }

  /**
   * Lets exactly so many more bytes pass in one direction, and then breaks off. That is the oldest open connection,
   * or, where there is none, the next one that is made. Every later connection is let through.
   */
  cutAfter(direction: Direction, bytes: number): void {
    const [link] = this.links;
    this.nextCut = { direction, after: bytes + (link?.passed[direction] ?? 0) };
  }

  /** Whether the cut that was asked for has not come yet. */
  get isArmed(): boolean {
    return this.nextCut !== undefined;
  }

  /** Passes nothing on any more over the connections that are open now, and leaves them open. New ones work. */
  freeze(): void {
    for (const link of this.links) {
      link.isFrozen = true;
    }
  }

  /** Does so to one connection: the oldest is 0, and past the newest it begins again. */
  freezeOne(index: number): void {
    const links = [...this.links];
    const link = links[index % links.length];
    if (link) {
      link.isFrozen = true;
    }
  }

  /**
   * Breaks the clients off, and leaves the connections to Redis open, as when a machine is gone, or a firewall forgot a
   * connection: Redis knows nothing of it, and goes on writing to them.
   */
  abandon(): void {
    for (const link of this.links) {
      link.isFrozen = true;
      link.client.destroy();
    }
  }

  /** Keeps back all that goes in one direction, until `letGo()`. */
  hold(direction: Direction): void {
    this.heldDirection = direction;
  }

  /** Passes on what was held back. */
  letGo(): void {
    this.heldDirection = undefined;
    for (const pass of this.held.splice(0)) {
      pass();
    }
  }

  /** Breaks off whoever connects, until `allow()`. */
  refuse(): void {
    this.isRefusing = true;
    this.cut();
  }

  allow(): void {
    this.isRefusing = false;
  }

  /** Resets all connections (RST) on both sides: bytes that were not read yet are lost. */
  reset(): void {
    for (const link of [...this.links]) {
      link.isCut = true;
      link.client.resetAndDestroy();
      link.redis.resetAndDestroy();
    }
  }

  /**
   * Parts the two sides, as a network does: nothing passes, new connections are not answered, and neither side is
   * told. What was sent meanwhile arrives at `rejoin()`, also from whoever has given up by then.
   */
  part(): void {
    this.isParted = true;
    for (const { client, redis } of this.links) {
      client.pause();
      redis.pause();
    }
  }

  /** Ends what `part()` began. */
  rejoin(): void {
    this.isParted = false;
    for (const { client, redis } of this.links) {
      client.resume();
      redis.resume();
    }
  }

  /** Passes everything on so much later. */
  delay(ms: number): void {
    this.delayMs = ms;
  }

  async stop(): Promise<void> {
    // Those of frozen connections too, which their one side has left already.
    for (const socket of this.sockets) {
      socket.destroy();
    }
    for (const timer of this.timers) {
      clearTimeout(timer);
    }
    this.server.close();
    await once(this.server, 'close');
  }

  private accept(client: Socket): void {
    this.accepted++;
    client.on('error', () => undefined);
    if (this.isRefusing) {
      client.destroy();
      return;
    }
    const redis = connect({ port: this.target, host: '127.0.0.1', noDelay: true });
    redis.on('error', () => undefined);
    const link: Link = {
      client,
      redis,
      passed: { 'to-redis': 0, 'to-client': 0 },
      isFrozen: false,
      isCut: false,
    };
    this.links.add(link);
    for (const socket of [client, redis]) {
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    }
    this.forward(link, client, redis, 'to-redis');
    this.forward(link, redis, client, 'to-client');
    if (this.isParted) {
      client.pause();
      redis.pause();
    }
  }

  private forward(link: Link, from: Socket, to: Socket, direction: Direction): void {
    const late: { chunk: Buffer; due: number }[] = [];
    const passDue = (): void => {
      while (late.length > 0 && late[0]!.due <= performance.now()) {
        this.pass(link, to, direction, late.shift()!.chunk);
      }
      if (late.length > 0) {
        const timer = setTimeout(() => {
          this.timers.delete(timer);
          passDue();
        }, late[0]!.due - performance.now());
        this.timers.add(timer);
      }
    };
    from.on('data', (chunk: Buffer) => {
      if (this.delayMs === 0 && late.length === 0) {
        this.pass(link, to, direction, chunk);
        return;
      }
      // In order, also when the delay has become shorter meanwhile.
      const due = Math.max(performance.now() + this.delayMs, late.at(-1)?.due ?? 0);
      late.push({ chunk, due });
      if (late.length === 1) {
        passDue();
      }
    });
    from.on('close', () => {
      this.links.delete(link);
      if (!link.isFrozen) {
        to.end();
      }
    });
  }

  private pass(link: Link, to: Socket, direction: Direction, chunk: Buffer): void {
    if (link.isFrozen || link.isCut || to.destroyed) {
      return;
    }
    if (this.heldDirection === direction) {
      this.held.push(() => this.pass(link, to, direction, chunk));
      return;
    }
    const cut = this.cutFor(link, direction);
    const left = cut ? cut.after - link.passed[direction] : Number.POSITIVE_INFINITY;
    const part = left < chunk.length ? chunk.subarray(0, left) : chunk;
    link.passed[direction] += part.length;
    to.write(part);
    if (part.length < chunk.length || left === chunk.length) {
      this.nextCut = undefined;
      this.breakOff(link);
    }
  }

  /** Ends both sides behind what was passed on: a reset could take bytes away that the other side has not read yet. */
  private breakOff(link: Link): void {
    link.isCut = true;
    this.links.delete(link);
    link.client.end();
    link.redis.end();
  }

  private cutFor(link: Link, direction: Direction): Cut | undefined {
    const [oldest] = this.links;
    return link === oldest && this.nextCut?.direction === direction ? this.nextCut : undefined;
  }
}
