import { ClientRedis, Transport } from '@nestjs/microservices';
import { NestServer } from './nest-app.js';
import { NestClient } from './nest-client.js';
import type { BenchClient, BenchServer, Setup } from './system.js';
import type { Work } from './work.js';

export function createServer(setup: Setup, work: Work): BenchServer {
  return new NestServer({ transport: Transport.REDIS, options: optionsFor(setup) }, setup, work);
}

export function createClient(setup: Setup): BenchClient {
  return new NestClient(new ClientRedis(optionsFor(setup)));
}

function optionsFor({ port }: Setup): { host: string; port: number } {
  return { host: '127.0.0.1', port };
}
