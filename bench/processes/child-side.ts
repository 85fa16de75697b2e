import type { Answer, ChildSetup, Order, OrderName, Orders, ProcessUsage } from './protocol.js';

type Handlers = {
  [Name in OrderName]?: (
    argument: Orders[Name]['argument'],
  ) => Promise<Orders[Name]['result']> | Orders[Name]['result'];
};

/** What the main process gave this child. */
export function childSetup(): ChildSetup {
  return JSON.parse(process.argv[2] ?? '') as ChildSetup;
}

/** Milliseconds by a clock that all processes of this machine share. */
export function sharedNow(): number {
  return performance.timeOrigin + performance.now();
}

/** Says that this child is ready, carries out what the main process asks for, and ends with it. */
export function serveOrders(handlers: Handlers, close: () => Promise<void>): void {
  const all: Handlers = { usage: ({ collect }) => usage(collect), ...handlers };
  process.on('message', (order: Order) => {
    carryOut(all, order).then(
      (result) => answer({ id: order.id, result }),
      (error: unknown) => answer({ id: order.id, error: describe(error) }),
    );
  });
  process.on('disconnect', () => {
    close().then(
      () => process.exit(),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
  // A terminal's Ctrl-C reaches every process of the group: the main process ends its children itself.
  process.on('SIGINT', () => undefined);
  answer({ id: 0 });
}

async function carryOut(handlers: Handlers, { name, argument }: Order): Promise<unknown> {
  const handler = handlers[name] as ((argument: unknown) => unknown) | undefined;
  if (!handler) {
    throw new Error(`This process has no part in '${name}'`);
  }
  return await handler(argument);
}

function answer(message: Answer): void {
  // The main process may have let go of this child while it was at work.
  if (process.connected) {
    process.send?.(message);
  }
}

function usage(collect: boolean): ProcessUsage {
  if (collect) {
    if (!globalThis.gc) {
      throw new Error('This process was started without --expose-gc');
    }
    globalThis.gc();
  }
  const { user, system } = process.cpuUsage();
  return { cpu: user + system, heap: process.memoryUsage().heapUsed };
}

/** Nest's clients fail with what the server has sent, which need not be an `Error`. */
function describe(error: unknown): string {
  return error instanceof Error ? error.message : JSON.stringify(error);
}
