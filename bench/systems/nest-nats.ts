import { loadPackageSync } from '@nestjs/common/internal';
import { ClientNats, Transport } from '@nestjs/microservices';
import { requireExtra } from '../extras.js';
import { NestServer } from './nest-app.js';
import { NestClient } from './nest-client.js';
import type { BenchClient, BenchServer, Setup } from './system.js';
import type { Work } from './work.js';

const CLIENT = '@nats-io/transport-node';
// Nest looks for it among its own neighbours, and takes what has been loaded before.
loadPackageSync(CLIENT, 'the benchmark', () => requireExtra<unknown>('nats', CLIENT));

export function createServer(setup: Setup, work: Work): BenchServer {
  const { service } = setup;
  // The queue has one of several servers handle a message.
  return new NestServer(
    { transport: Transport.NATS, options: { ...optionsFor(setup), queue: service } },
    setup,
    work,
  );
}

export function createClient(setup: Setup): BenchClient {
  return new NestClient(new ClientNats(optionsFor(setup)));
}

function optionsFor({ port }: Setup): { servers: string[] } {
  return { servers: [`nats://127.0.0.1:${port}`] };
}
