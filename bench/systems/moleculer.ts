import { requireExtra } from '../extras.js';
import { notOffered, TOPIC, type BenchClient, type BenchServer, type Setup } from './system.js';
import type { Work } from './work.js';

interface Context<T> {
  params: T;
}

/** `context`: the handler takes one; else that is guessed from the name of its parameter. */
type Events = Record<string, { context: true; handler: (context: Context<never>) => void }>;

/** What is used of the package, which is not there when this is compiled. */
interface ServiceBroker {
  createService(schema: {
    name: string;
    actions: Record<string, (context: Context<never>) => unknown>;
    events: Events;
  }): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  waitForServices(name: string): Promise<unknown>;
  call<T>(action: string, params: object): Promise<T>;
  emit(event: string, params: object): Promise<void>;
}
interface Moleculer {
  ServiceBroker: new (options: object) => ServiceBroker;
}

export function createServer(setup: Setup, work: Work): BenchServer {
  const broker = createBroker(`server-${process.pid}`, setup);
  const handler = ({ params }: Context<{ n: number }>): void => work.note(params.n);
  const noted: Events = {};
  for (let i = 0; i < setup.topics; i++) {
    noted[`noted.${i}`] = { context: true, handler };
  }
  broker.createService({
    name: setup.service,
    actions: {
      sum: ({ params }: Context<{ a: number; b: number }>) => work.sum(params.a, params.b),
      echo: ({ params }: Context<{ text: string }>) => params.text,
    },
    events: noted,
  });
  return { start: () => broker.start(), close: () => broker.stop() };
}

export function createClient(setup: Setup): BenchClient {
  const { service } = setup;
  const broker = createBroker(`client-${process.pid}`, setup);
  return {
    connect: async () => {
      await broker.start();
      await broker.waitForServices(service);
    },
    request: (a, b) => broker.call<number>(`${service}.sum`, { a, b }),
    echo: (text) => broker.call<string>(`${service}.echo`, { text }),
    emit: (n) => broker.emit(TOPIC, { n }),
    stream: () => notOffered('answers of several values'),
    close: () => broker.stop(),
  };
}

function createBroker(nodeID: string, { port }: Setup): ServiceBroker {
  const { ServiceBroker } = requireExtra<Moleculer>('moleculer', 'moleculer');
  const transporter = { type: 'Redis', options: { host: '127.0.0.1', port } };
  return new ServiceBroker({ nodeID, transporter, logger: false });
}
