import { loadPackageSync } from '@nestjs/common/internal';
import { ClientRMQ, Transport } from '@nestjs/microservices';
import { requireExtra } from '../extras.js';
import { NestServer } from './nest-app.js';
import { NestClient } from './nest-client.js';
import type { BenchClient, BenchServer, Setup } from './system.js';
import type { Work } from './work.js';

// Nest looks for them among its own neighbours, and takes what has been loaded before.
for (const name of ['amqplib', 'amqp-connection-manager']) {
  loadPackageSync(name, 'the benchmark', () => requireExtra<unknown>('rmq', name));
}

export function createServer(setup: Setup, work: Work): BenchServer {
  return new NestServer({ transport: Transport.RMQ, options: optionsFor(setup) }, setup, work);
}

export function createClient(setup: Setup): BenchClient {
  return new NestClient(new ClientRMQ(optionsFor(setup)));
}

function optionsFor({ port, service }: Setup): { urls: string[]; queue: string } {
  return { urls: [`amqp://127.0.0.1:${port}`], queue: service };
}
