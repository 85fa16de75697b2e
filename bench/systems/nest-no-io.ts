import { NestFactory } from '@nestjs/core';
import {
  ClientProxy,
  Server,
  type CustomTransportStrategy,
  type MessageHandler,
  type WritePacket,
} from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import { controllerFor } from './nest-app.js';
import { NestClient } from './nest-client.js';
import type { BenchClient, BenchServer, Setup } from './system.js';
import { Turn } from './turn.js';
import type { Work } from './work.js';

/*
 * What Nest itself costs: a client and a server in one process that hand each other JSON, a turn of the event loop
 * between, with no socket, no broker, no acknowledgement and no timeout.
 */

interface Message {
  id?: string;
  pattern: string;
  data: unknown;
}

/** As Nest hands it over; the patterns here are strings. */
type LocalPacket = Omit<Message, 'id'>;

/** Takes a line of JSON. */
type Wire = (json: string) => void;

class LocalServer extends Server implements CustomTransportStrategy {
  private readonly remembered = new Map<string, MessageHandler>();
  private readonly replies: Turn<string>;

  constructor(reply: Wire) {
    super();
    this.replies = new Turn((lines) => lines.forEach(reply));
  }

  listen(callback: () => void): void {
    callback();
  }

  close(): void {
    this.remembered.clear();
  }

  on(): never {
    throw new Error('This transport has no events of its own');
  }

  unwrap<T>(): T {
    throw new Error('There is nothing below this transport');
  }

  /** Nest parses the pattern as JSON for every message, and throws and catches where it is a plain string. */
  override getHandlerByPattern(pattern: string): MessageHandler | null {
    const known = this.remembered.get(pattern);
    if (known) {
      return known;
    }
    const handler = super.getHandlerByPattern(pattern);
    if (handler) {
      this.remembered.set(pattern, handler);
    }
    return handler;
  }

  async take(json: string): Promise<void> {
    const { id, pattern, data } = JSON.parse(json) as Message;
    if (id === undefined) {
      await this.handleEvent(pattern, { pattern, data }, undefined as never);
      return;
    }
    const handler = this.getHandlerByPattern(pattern);
    if (!handler) {
      throw new Error(`Nobody handles '${pattern}'`);
    }
    this.handleRequest(
      undefined as never,
      async () => this.transformToObservable(await handler(data)) as Observable<unknown>,
      (packet: WritePacket) => this.replies.add(JSON.stringify({ ...packet, id })),
    );
  }
}

class LocalClient extends ClientProxy {
  private readonly requests: Turn<string>;
  private lastId = 0;

  constructor(send: Wire) {
    super();
    this.requests = new Turn((lines) => lines.forEach(send));
  }

  connect(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.routingMap.clear();
  }

  unwrap<T>(): T {
    throw new Error('There is nothing below this transport');
  }

  receive(json: string): void {
    const { id, ...packet } = JSON.parse(json) as WritePacket & { id: string };
    this.routingMap.get(id)?.(packet);
  }

  protected publish({ pattern, data }: LocalPacket, callback: (packet: WritePacket) => void): () => void {
    const id = String(++this.lastId);
    this.routingMap.set(id, callback);
    this.requests.add(JSON.stringify({ id, pattern, data } satisfies Message));
    return () => this.routingMap.delete(id);
  }

  protected dispatchEvent<T>({ pattern, data }: LocalPacket): Promise<T> {
    this.requests.add(JSON.stringify({ pattern, data } satisfies Message));
    return Promise.resolve(undefined as T);
  }
}

export function createServer(): BenchServer {
  throw new Error('The server of this system is in the client’s process');
}

export function createClient(setup: Setup, work: Work): BenchClient {
  const fail = (error: unknown): void => {
    console.error(error);
    process.exit(1);
  };
  const server: LocalServer = new LocalServer((json) => proxy.receive(json));
  const proxy: LocalClient = new LocalClient((json) => void server.take(json).catch(fail));
  return new LocalPair(proxy, server, setup, work);
}

class LocalPair extends NestClient {
  constructor(
    proxy: LocalClient,
    private readonly strategy: LocalServer,
    private readonly setup: Setup,
    private readonly work: Work,
  ) {
    super(proxy);
  }

  override async connect(): Promise<void> {
    class ServerModule {}
    const module = { module: ServerModule, controllers: [controllerFor(this.setup, this.work)] };
    const app = await NestFactory.createMicroservice(module, { strategy: this.strategy, logger: false });
    await app.listen();
    await super.connect();
  }
}
